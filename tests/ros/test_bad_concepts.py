# SPDX-License-Identifier: Apache-2.0
"""Concepts that cannot be are refused by service, topic and parameter, in log and diagnostics; the old ones stay."""

from __future__ import annotations

import pytest
from esam3_ros.srv import SetConcepts
from rclpy.parameter import Parameter
from std_msgs.msg import String

from tests.ros.conftest import wait_for


@pytest.mark.parametrize(
    ("concepts", "words"),
    [
        ([""], "a concept is empty"),
        (["  \t "], "a concept is empty"),
        (["x" * 10_000], "has 10000 characters: use at most 64"),
        (["cup", "a\x07b"], "control characters"),
        (["a", "b", "c", "d", "e", "f", "g", "h", "i"], "9 concepts, at most 8"),
    ],
)
def test_concepts_that_cannot_be_are_refused_by_the_service(graph, tracker, results, concepts, words):
    tracker()
    answer = graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=concepts))
    assert not answer.success and words in answer.message and answer.version == 1
    wait_for(lambda: graph.complained(words))
    wait_for(lambda: graph.warns("tracks", words))
    assert graph.still_tracks(results)  # the old concepts are still in force


@pytest.mark.parametrize("text", ["", " , ", "x" * 10_000])
def test_concepts_that_cannot_be_are_refused_by_the_topic(graph, tracker, results, text):
    tracker()
    talk = graph.probe.create_publisher(String, "tracker/concept", 1)
    wait_for(talk.get_subscription_count)
    talk.publish(String(data=text))
    wait_for(lambda: graph.complained("refused", "concept"))
    wait_for(lambda: graph.warns("tracks", "concept"))
    assert graph.still_tracks(results)


@pytest.mark.parametrize("value", [5, 2.5, True, [1, 2], [1.5], [True]])
def test_numbers_are_no_concepts(graph, tracker, results, value):
    node = tracker()
    result = node.set_parameters([Parameter("concepts", value=value)])[0]
    assert not result.successful and "noun phrase" in result.reason
    wait_for(lambda: graph.complained("refused", "noun phrase") and graph.warns("tracks", "noun phrase"))
    assert graph.still_tracks(results)


def test_a_number_given_at_start_leaves_the_node_idle_and_explains(graph, tracker, results):
    node = tracker(concepts=5)
    wait_for(lambda: graph.complained("concepts cannot be 5") and graph.warns("tracks", "concepts cannot be 5"))
    assert node.state == "active"
    assert node.set_parameters([Parameter("concepts", value=["red"])])[0].successful
    assert graph.still_tracks(results)


def test_unicode_is_a_concept_like_any_other(graph, tracker, results):
    node = tracker()
    for text in ("Tässchen", "красная чашка", "杯子", "🥤", "قدح"):
        answer = graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=[text, "red"]))
        assert answer.success, answer.message
        assert node.control.concepts == (text.lower(), "red")
    assert graph.still_tracks(results)
