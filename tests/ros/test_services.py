# SPDX-License-Identifier: Apache-2.0
"""Every request gets an answer, also when the node goes away under those who wait."""

from __future__ import annotations

import pytest
from esam3_ros.srv import AddExemplar, AddObject, MemoryFile, RemoveObject, SetConcepts
from sensor_msgs.msg import RegionOfInterest
from std_srvs.srv import Trigger

from tests.ros.conftest import held, wait_for

BOX = RegionOfInterest(x_offset=390, y_offset=270, width=120, height=120)
REQUESTS = (
    ("set_concepts", SetConcepts, SetConcepts.Request(concepts=["red"], keep_tracks=False)),
    ("set_concepts", SetConcepts, SetConcepts.Request(concepts=["blue"])),
    ("reset", Trigger, Trigger.Request()),
    ("add_exemplar", AddExemplar, AddExemplar.Request(positive=[BOX], concept="toy")),
    ("add_object", AddObject, AddObject.Request(roi=BOX)),
    ("remove_object", RemoveObject, RemoveObject.Request(id=1)),
    ("save_memory", MemoryFile, MemoryFile.Request(path="kitchen")),
    ("load_memory", MemoryFile, MemoryFile.Request(path="kitchen")),
)


@pytest.mark.parametrize("transition", ["cleanup", "shutdown"])
def test_whoever_waits_while_the_node_is_taken_down_is_told_so(graph, tracker, monkeypatch, transition):
    monkeypatch.setattr("esam3_ros.tracker.WORKER_PATIENCE", 0.2)
    node = tracker()
    assert graph.transition("deactivate")
    with held(node.worker):
        answers = []
        for name, kind, request in REQUESTS:
            answers.append(graph.ask(f"tracker/{name}", kind, request))
            wait_for(lambda: sum(one.services.unanswered for one in node._commands or ()) == len(answers), name)
        assert graph.transition(transition)
        wait_for(lambda: all(answer.done() for answer in answers), "all answers")
    for answer in answers:
        assert not answer.result().success and "the node was cleaned up before" in answer.result().message
    wait_for(lambda: not [one for one in node.services if one.srv_name.endswith("/set_concepts")])
    assert not graph.complained("InvalidHandle")


def test_after_that_the_node_can_be_configured_and_asked_again(graph, tracker, results, monkeypatch):
    monkeypatch.setattr("esam3_ros.tracker.WORKER_PATIENCE", 0.2)
    node = tracker()
    assert graph.transition("deactivate")
    with held(node.worker):
        waiting = graph.ask("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["blue"]))
        wait_for(lambda: node._commands[0].services.unanswered)
        assert graph.transition("cleanup")
        wait_for(waiting.done)
    assert graph.transition("configure") and graph.transition("activate")
    assert graph.call("tracker/set_concepts", SetConcepts, SetConcepts.Request(concepts=["red"])).success
    assert graph.call("tracker/reset", Trigger, Trigger.Request()).success
    assert graph.still_tracks(results)
