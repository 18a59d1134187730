"""Named settings of PatchCore, so that a number can be traced to what made it.

Each preset is a plain dict of `PatchCore` arguments. The peers' presets copy their image size,
crop and statistics too: they are part of what was measured.
"""

PRESETS: dict[str, dict] = {
    # What this project recommends: the best measured on the sets in results/reference.
    "default": {},
    # amazon-science/patchcore-inspection, IM224_WR50_L2-3_P01_D1024-1024_PS-3_AN-1
    "amazon": dict(
        resize=256, crop=224, normalization="imagenet", patch_features="adaptive",
        balance_layers=False,
        coreset_ratio=0.1, projection="linear", coreset_start="mean",
        squared=True, image_score="max", map_border="symmetric"),
    # anomalib 2.x with the paper's centre crop
    "anomalib": dict(
        resize=(256, 256), crop=224, normalization="imagenet", patch_features="concatenate",
        balance_layers=False,
        coreset_ratio=0.1, projection="sparse", coreset_start="random",
        image_score="reweighted", reweight_neighbors=9,
        map_upsampling="nearest", map_border="reflect"),
    # rvorias/ind_knn_ad. Given the same coreset, all scores are equal. It selects in float16,
    # where thousands of distances tie, so its own coreset is another one.
    "ind_knn_ad": dict(
        resize=(256, 256), crop=224, normalization="imagenet", patch_features="unpadded",
        balance_layers=False,
        coreset_ratio=0.1, projection="sparse-if-smaller", coreset_start="first",
        image_score="ind_knn_ad", reweight_neighbors=3,
        map_kernel_size=21, map_border="zero"),
    # dammsi/AnomalyDINO, without its background masks: cosine distances of single tokens, all of
    # them kept, the mean of the worst 1 % as score. Made for few shots and DINOv2.
    "anomalydino": dict(
        patch_features="tokens", balance_layers=False, coreset_ratio=1.0, image_score="top"),
}

# The paper (arXiv 2106.08265): Eq. 7 with the neighbourhood size that anomalib chose, as the
# paper gives none; Gaussian projection and greedy selection; 25, 10 and 1 % of the patches.
_PAPER = dict(
    resize=256, crop=224, normalization="imagenet", patch_features="adaptive",
    balance_layers=False,
    projection="linear", coreset_start="random", image_score="reweighted", reweight_neighbors=9)
PRESETS.update({f"paper-{percent}": _PAPER | dict(coreset_ratio=percent / 100)
                for percent in (25, 10, 1)})
