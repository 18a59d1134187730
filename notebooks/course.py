"""The table of contents: what the builder, the course page and the tests agree on."""

from dataclasses import dataclass

REPOSITORY, REFERENCE = "indad/indad", "main"  # owner/name and the branch or tag of a release

TRACKS = {"method": "The method", "judge": "Judge it", "choose": "Choose", "work": "At work",
          "capstone": "Capstone"}
QUICK = ("00", "05", "08")  # see it work, decide, use your own photos


@dataclass(frozen=True)
class Lesson:
    """A notebook: its number and file name, title, promise in a line, and track.

    What it takes is worked out from its source, in `reading`.
    """

    number: str
    slug: str
    title: str
    promise: str
    track: str

    @property
    def name(self) -> str:
        return f"{self.number}_{self.slug}"


# In the order to take them in; a number stays with its lesson, whatever comes between.
LESSONS = [
    Lesson("00", "find_your_first_defect", "Find your first defect",
           "A detector that has seen good parts only points at a crack it has never seen.",
           "method"),
    Lesson("01", "what_a_network_sees", "What a network sees in a patch",
           "A photo becomes a grid of vectors, and similar places get similar vectors.", "method"),
    Lesson("02", "memory_distance_score_map", "Memory bank, distance, score, map",
           "Distance to the nearest remembered patch is all there is to it.", "method"),
    Lesson("03", "coreset", "Coreset: remember less",
           "A tenth of the patches says nearly as much as all of them.", "method"),
    Lesson("04", "measure_honestly", "Measure honestly",
           "Which number to believe, and how far.", "judge"),
    Lesson("05", "thresholds", "Thresholds in practice",
           "From a score to a decision, with good parts only.", "judge"),
    Lesson("06", "backbones", "Backbones: ImageNet, CLIP, self-supervised, anti-aliased",
           "Which network to look through, compared fairly.", "choose"),
    Lesson("07", "few_shots", "Few shots and reduced sets",
           "How many good photos are enough.", "choose"),
    Lesson("08", "your_own_images", "Your own images",
           "From a folder of good photos to a detector you can trust.", "work"),
    Lesson("10", "photos_as_they_are", "Photos as they are",
           "Large, cluttered, askew and not all good: four things that break it, and their cures.",
           "work"),
    Lesson("09", "ship_it", "Ship it: save, ONNX, speed, monitoring",
           "The model leaves the notebook and gives the same answers elsewhere.", "work"),
]
