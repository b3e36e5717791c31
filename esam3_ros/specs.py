# SPDX-License-Identifier: Apache-2.0
"""The parameters of each node; defaults stand in `esam3_core.config`, meaning and limits here."""

from __future__ import annotations

from esam3_core.config import (
    TRACKERS,
    CameraConfig,
    DetectorConfig,
    NodeConfig,
    OverlayConfig,
    RuntimeConfig,
    TrackerConfig,
)
from esam3_ros.parameters import Spec, When
from esam3_ros.qos import RELIABILITIES, TRANSPORTS

RUNNING, UNCONFIGURED, START = When.RUNNING, When.UNCONFIGURED, When.START
TRANSPORT_NAMES = tuple(TRANSPORTS)

TRACKER = (
    Spec(NodeConfig, "bundle", "the student to run: name or path of a bundle", UNCONFIGURED),
    Spec(
        RuntimeConfig,
        "backend",
        "what runs the engines",
        UNCONFIGURED,
        choices=("auto", "onnxruntime", "tensorrt"),
    ),
    Spec(RuntimeConfig, "device", "auto, cpu, cuda or cuda:N", UNCONFIGURED),
    Spec(RuntimeConfig, "threads", "CPU threads of the engines, 0 = all cores", UNCONFIGURED, (0, 256)),
    Spec(RuntimeConfig, "max_concepts", "concepts searched at once", UNCONFIGURED, (1, 64)),
    Spec(RuntimeConfig, "text_cache", "concepts whose text tokens are kept", UNCONFIGURED, (1, 100_000)),
    Spec(
        NodeConfig,
        "image_transport",
        "raw subscribes to image, compressed to image/compressed",
        UNCONFIGURED,
        choices=TRANSPORT_NAMES,
    ),
    Spec(
        NodeConfig,
        "image_reliability",
        "reliability of the image subscription; auto copies the publishers'",
        UNCONFIGURED,
        choices=RELIABILITIES,
    ),
    Spec(DetectorConfig, "score_threshold", "detections below are ignored, 0..1", RUNNING, (0, 1)),
    Spec(
        DetectorConfig,
        "mask_threshold",
        "probability from which a pixel is in a mask, 0..1",
        RUNNING,
        (0, 1),
    ),
    Spec(DetectorConfig, "min_area", "of detections: smaller masks are ignored, pixels", RUNNING, (0, 1_000_000)),
    Spec(
        DetectorConfig,
        "duplicate_iou",
        "of two masks of one concept that overlap more, the better stays, 0..1",
        RUNNING,
        (0, 1),
    ),
    Spec(
        DetectorConfig,
        "falloff",
        "of what a mask's logit lacks to its concept's best one, how often it is taken off once more",
        RUNNING,
        (0, 100),
    ),
    Spec(DetectorConfig, "refine", "show refined masks, where the bundle has a refiner", RUNNING),
    Spec(TrackerConfig, "match_iou", "mask IoU from which a detection continues a track, 0..1", RUNNING, (0, 1)),
    Spec(TrackerConfig, "keep_share", "of score_threshold: detections from it on continue tracks", RUNNING, (0, 1)),
    Spec(TrackerConfig, "new_score", "score from which a detection starts a track, 0..1", RUNNING, (0, 1)),
    Spec(TrackerConfig, "min_hits", "processed frames before a track gets its id", RUNNING, (1, 30)),
    Spec(
        TrackerConfig,
        "hold",
        "without memory: how long an unseen track shows its last mask before it is occluded, s of image time",
        RUNNING,
        (0, 60),
    ),
    Spec(
        TrackerConfig,
        "max_age",
        "how long an unseen track is remembered, with memory: looked for near its last place, s of image time",
        RUNNING,
        (0, 60),
    ),
    Spec(TrackerConfig, "merge_iou", "two tracks of one concept that overlap more become one, 0..1", RUNNING, (0, 1)),
    Spec(TrackerConfig, "detect_every", "search for each concept on every n-th processed frame", RUNNING, (1, 60)),
    Spec(
        TrackerConfig,
        "reach",
        "box diagonals a track may have moved unseen, 0 = its masks must overlap",
        RUNNING,
        (0, 100),
    ),
    Spec(TrackerConfig, "max_tracks", "tracks followed at once", UNCONFIGURED, (1, 64)),
    Spec(
        TrackerConfig,
        "tracker",
        "iou links detections, memory also remembers, auto takes memory where the bundle has one",
        UNCONFIGURED,
        choices=TRACKERS,
    ),
    Spec(
        TrackerConfig,
        "memory_age",
        "with memory: how long an unseen track is remembered, s of image time",
        RUNNING,
        (0, 86_400),
    ),
    Spec(
        TrackerConfig,
        "keep_alive",
        "with memory: how long a track is shown that no detection agrees with, s of image time",
        RUNNING,
        (0, 86_400),
    ),
    Spec(
        TrackerConfig, "write_iou", "with memory: expected mask IoU from which a frame is remembered", RUNNING, (0, 1)
    ),
    Spec(TrackerConfig, "write_every", "with memory: every how many of these frames is remembered", RUNNING, (1, 1000)),
    Spec(
        TrackerConfig,
        "recondition_score",
        "with memory: score from which a detection that agrees corrects the memory",
        RUNNING,
        (0, 1),
    ),
    Spec(NodeConfig, "max_rate", "frames processed per second of image time, 0 = all it can, Hz", RUNNING, (0, 120)),
    Spec(NodeConfig, "max_frame_age", "older input is dropped, 0 = never, s", RUNNING, (0, 10)),
    Spec(NodeConfig, "latency_warn", "diagnostics warn when results are older, s", RUNNING, (0, 10)),
    Spec(NodeConfig, "diagnostic_period", "s between diagnostics", START, (0.1, 60)),
    Spec(NodeConfig, "autostart", "configure and activate without being asked", START),
)

OVERLAY = (
    Spec(OverlayConfig, "image_transport", "how the input comes", START, choices=TRANSPORT_NAMES),
    Spec(
        OverlayConfig,
        "image_reliability",
        "reliability of the image subscription; auto copies the publishers'",
        START,
        choices=RELIABILITIES,
    ),
    Spec(OverlayConfig, "history", "images kept while their tracks are awaited", START, (1, 1000)),
    Spec(OverlayConfig, "jpeg_quality", "quality of the compressed picture", RUNNING, (1, 100)),
)

CAMERA = (
    Spec(CameraConfig, "source", "scene, a video file, a folder of images, or a bag", START),
    Spec(CameraConfig, "seed", "seed of the scene", START, (0, 2**31 - 1)),
    Spec(CameraConfig, "width", "width of the scene's pictures, pixels", START, (64, 4096)),
    Spec(CameraConfig, "height", "height of the scene's pictures, pixels", START, (64, 4096)),
    Spec(CameraConfig, "rate", "pictures per second, Hz", START, (0.1, 240)),
    Spec(
        CameraConfig,
        "clip",
        "frames of the scene made before the first is shown (without depth), 0 = made live",
        START,
        (0, 100_000),
    ),
    Spec(CameraConfig, "loop", "start again at the end of a source", START),
    Spec(
        CameraConfig,
        "await_subscribers",
        "subscriptions to the image before the first frame is shown",
        START,
        (0, 100),
    ),
    Spec(
        CameraConfig,
        "reliability",
        "reliability of the image publisher",
        START,
        choices=("reliable", "best_effort"),
    ),
    Spec(CameraConfig, "topic", "image topic of a bag, empty = its first one", START),
    Spec(CameraConfig, "frame_id", "frame of the published images", START),
)
