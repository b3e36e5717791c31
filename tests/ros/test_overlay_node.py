# SPDX-License-Identifier: Apache-2.0
"""The overlay node draws tracks on the very image they came from, and only for somebody."""

from __future__ import annotations

import time

import numpy as np
import pytest
from esam3_ros.msg import TrackArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from esam3_core.runtime import CroppedMask, Track
from esam3_ros.conversions import compressed_to_rgb, image_to_rgb
from esam3_ros.overlay import OverlayNode
from esam3_ros.publishers import Stamps, track_array
from tests.colour_bundle import disc
from tests.ros.conftest import blobs, wait_for


@pytest.fixture
def say(graph):
    """Publishes the tracks of one stamp."""
    publisher = graph.probe.create_publisher(TrackArray, "tracks", 10)

    def say(stamp) -> None:
        crop = CroppedMask.from_full(disc(160, 120, 50))
        track = Track(1, "red", 0.9, "tracked", (110, 70, 101, 101), crop, 0.0, 0.0)
        publisher.publish(track_array(Header(stamp=stamp, frame_id="camera"), (480, 640), [track], 1, Stamps()))

    return say


def test_it_does_nothing_until_somebody_looks_and_stops_when_nobody_does(graph):
    node = graph.start(OverlayNode)
    time.sleep(0.8)
    assert not node.listening and not graph.camera().get_subscription_count()
    viewer = graph.subscribe("overlay/image", Image, lambda message: None)
    wait_for(lambda: node.listening and graph.camera().get_subscription_count())
    graph.probe.destroy_subscription(viewer)
    wait_for(lambda: not node.listening and not graph.camera().get_subscription_count())


@pytest.mark.parametrize("tracks_first", [False, True])
def test_tracks_are_drawn_on_the_image_of_their_stamp(graph, say, tracks_first):
    graph.start(OverlayNode)
    pictures = graph.collect("overlay/image", Image)
    wait_for(graph.camera().get_subscription_count)

    def step():
        stamp = graph.stamp()
        if tracks_first:
            say(stamp)
            time.sleep(0.02)
        graph.show(stamp=stamp)
        if not tracks_first:
            time.sleep(0.02)
            say(stamp)
        time.sleep(0.05)
        return pictures

    wait_for(step)
    drawn, plain = image_to_rgb(pictures[-1]), blobs()
    changed = (drawn != plain).any(axis=2)
    assert changed[disc(160, 120, 45)].mean() > 0.95 and not changed[disc(450, 330, 60)].any()
    assert pictures[-1].header.frame_id == "camera"


def test_an_image_without_its_tracks_is_not_shown(graph, say):
    graph.start(OverlayNode, history=5)
    pictures = graph.collect("overlay/image", Image)
    wait_for(graph.camera().get_subscription_count)
    for _ in range(10):
        graph.show()
        say(graph.stamp())  # of another stamp
    pairs = []

    def pair():
        pairs.append(graph.show().header.stamp)
        say(pairs[-1])
        time.sleep(0.05)
        return pictures

    wait_for(pair)
    assert all(picture.header.stamp in pairs for picture in pictures)


def test_a_compressed_picture_is_there_for_those_far_away(graph, say):
    graph.start(OverlayNode, jpeg_quality=80)
    pictures = graph.collect("overlay/image/compressed", CompressedImage)
    wait_for(graph.camera().get_subscription_count)

    def step():
        say(graph.show().header.stamp)
        time.sleep(0.05)
        return pictures

    wait_for(step)
    assert np.abs(compressed_to_rgb(pictures[-1]).astype(int) - blobs())[disc(450, 330, 50)].mean() < 12


def test_a_bad_image_costs_that_picture_only(graph, say):
    graph.start(OverlayNode)
    pictures = graph.collect("overlay/image", Image)
    wait_for(graph.camera().get_subscription_count)

    def bad():
        stamp = graph.stamp()
        graph.camera().publish(Image(header=Header(stamp=stamp), encoding="rgb8", width=9, height=9, step=1))
        say(stamp)
        time.sleep(0.05)
        return graph.complained("step 1 is shorter")

    wait_for(bad)

    def good():
        say(graph.show().header.stamp)
        time.sleep(0.05)
        return pictures

    wait_for(good)
