"""The table of contents: what the builder, the course page and the tests agree on."""

from dataclasses import dataclass

REPOSITORY, REFERENCE = "indad/indad", "main"  # owner/name and the branch or tag of a release


@dataclass(frozen=True)
class Lesson:
    """A notebook: its number and file name, title, promise in a line, minutes to read and do."""

    number: str
    slug: str
    title: str
    promise: str
    minutes: int

    @property
    def name(self) -> str:
        return f"{self.number}_{self.slug}"


LESSONS = [
    Lesson("00", "find_your_first_defect", "Find your first defect",
           "A detector that has seen good parts only points at a crack it has never seen.", 10),
    Lesson("01", "what_a_network_sees", "What a network sees in a patch",
           "A photo becomes a grid of vectors, and similar places get similar vectors.", 25),
    Lesson("02", "memory_distance_score_map", "Memory bank, distance, score, map",
           "Distance to the nearest remembered patch is all there is to it.", 30),
    Lesson("03", "coreset", "Coreset: remember less",
           "A tenth of the patches says nearly as much as all of them.", 30),
    Lesson("04", "measure_honestly", "Measure honestly",
           "Which number to believe, and how far.", 30),
    Lesson("05", "thresholds", "Thresholds in practice",
           "From a score to a decision, with good parts only.", 25),
    Lesson("06", "backbones", "Backbones: ImageNet, CLIP, self-supervised, anti-aliased",
           "Which network to look through, compared fairly.", 35),
    Lesson("07", "few_shots", "Few shots and reduced sets",
           "How many good photos are enough.", 30),
    Lesson("08", "your_own_images", "Your own images",
           "From a folder of good photos to a detector you can trust.", 25),
    Lesson("09", "ship_it", "Ship it: save, ONNX, speed, monitoring",
           "The model leaves the notebook and gives the same answers elsewhere.", 30),
    Lesson("10", "photos_as_they_are", "Photos as they are",
           "Large, cluttered, askew and not all good: four things that break it, and their cures.",
           30),
    Lesson("11", "the_family", "The family",
           "SPADE, PaDiM, a student: three relatives built on the same features, and what PatchCore"
           " cannot see.", 90),
]
