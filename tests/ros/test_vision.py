# SPDX-License-Identifier: Apache-2.0
"""The tracks once more as vision_msgs, where these are installed; without them the node lacks only these two topics."""

from __future__ import annotations

import importlib.util

import pytest

from esam3_ros.qos import LATCHED


def test_detections_and_label_info_tell_what_the_tracks_tell(graph, tracker, results):
    messages = pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not here, PyPI has none")
    detections = graph.collect("tracker/detections", messages.Detection2DArray)
    labels = graph.collect("tracker/label_info", messages.LabelInfo, LATCHED)
    tracker()
    graph.show_until(lambda: labels and any(message.detections for message in detections))
    (found,) = next(message for message in detections if message.detections).detections
    assert (found.id, found.results[0].hypothesis.class_id) == ("1", "red")
    assert found.results[0].hypothesis.score > 0.5
    assert abs(found.bbox.center.position.x - 160) < 8 and abs(found.bbox.size_y - 100) < 16
    assert [(one.class_id, one.class_name) for one in labels[-1].class_map] == [(1, "red")]
    stamps = [message.header.stamp for message in results]
    assert all(message.header.stamp in stamps for message in detections)


@pytest.mark.skipif(importlib.util.find_spec("vision_msgs") is not None, reason="vision_msgs is here")
def test_without_vision_msgs_the_topics_are_not_there(graph, tracker):
    node = tracker()
    assert not [one for one in node.publishers if one.topic_name.endswith(("/detections", "/label_info"))]
