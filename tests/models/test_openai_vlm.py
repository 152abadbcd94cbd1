"""A vision-language model behind a real server: three roles, matched answers, and every way in which it can fail."""

from __future__ import annotations

import base64
import io
import json
import math
import socket
import threading

import pytest
from PIL import Image

from reflectionflow import stack
from reflectionflow.errors import ModelError
from reflectionflow.models.endpoint import Endpoint, EndpointOptions, Fault, Said, key_missing
from reflectionflow.models.openai_vlm import Judge, RemoteVlm, VlmOptions, probability_of_yes
from reflectionflow.prompts.vlm import FULL
from reflectionflow.roles import Question, Refiner, RefineRequest, Reflector, ReflectRequest, Verifier
from reflectionflow.types import Candidate, Failure, Recipe, Verdict
from tests.support.chat_server import Answer, completion, question_of, serving

YES = {"Yes": math.log(0.6), " yes": math.log(0.15), "No": math.log(0.25)}
KEY = "REFLECTIONFLOW_TEST_KEY"


def candidate(number):
    return Candidate(Recipe("painter@1", f"prompt {number}", number, 8, 6, 1, 1.0), "0" * 64, 8, 6)


def picture(number):
    return Image.new("RGB", (8, 6), (number, 2 * number, 3 * number))


def questions(count):
    return [Question(candidate(n), picture(n), f"prompt {n}") for n in range(count)]


def vlm(chat, **options):
    return RemoteVlm(VlmOptions(base_url=chat.url, served="tiny/vlm", **options))


def judged(answer, count=1, **options):
    with serving(answer if callable(answer) else lambda body: answer) as chat:
        return vlm(chat, **options).judge(questions(count)), chat


def test_it_plays_all_three_roles():
    model = RemoteVlm(VlmOptions(base_url="http://localhost:1/v1", served="m"))
    assert isinstance(model, Verifier)
    assert isinstance(model, Reflector)
    assert isinstance(model, Refiner)


def test_the_score_is_the_probability_of_yes_among_yes_and_no_in_all_spellings():
    (verdict,), chat = judged(completion("Yes", tokens=41, first=YES))
    assert verdict == Verdict(candidate(0).id, verdict.verifier, score=0.75, tokens=41)
    body = chat.requests[0]
    assert (body["model"], body["temperature"]) == ("tiny/vlm", 0)
    assert (body["logprobs"], body["top_logprobs"], body["max_completion_tokens"]) == (True, 20, 1)
    assert "response_format" not in body
    assert "logprob_token_ids" not in body


def test_the_picture_is_sent_whole_between_the_instruction_and_the_question():
    _, chat = judged(completion("Yes", first=YES))
    system, user = chat.requests[0]["messages"]
    assert system == {"role": "system", "content": FULL.system}
    image, text = user["content"]
    kind, data = image["image_url"]["url"].split(",")
    assert kind == "data:image/png;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).tobytes() == picture(0).tobytes()
    assert '"prompt 0"' in text["text"]


def test_exact_token_ids_are_asked_for_where_they_are_known():
    _, chat = judged(completion("Yes", first=YES), label_token_ids=(9454, 2753), extra={"seed": 3})
    assert chat.requests[0]["logprob_token_ids"] == [9454, 2753]
    assert chat.requests[0]["seed"] == 3


def test_answers_belong_to_their_pictures_in_whatever_order_they_come():
    count, done = 5, [threading.Event() for _ in range(6)]
    done[5].set()

    def last_first(body):
        number = int(question_of(body).split('"')[1].split()[1])
        assert done[number + 1].wait(10)
        done[number].set()
        share = (number + 1) / 10
        return completion("Yes", first={"yes": math.log(share), "no": math.log(1 - share)})

    verdicts, _ = judged(last_first, count, concurrency=count)
    assert [verdict.candidate for verdict in verdicts] == [item.id for item in questions(count)]
    assert [verdict.score for verdict in verdicts] == [0.1, 0.2, 0.3, 0.4, 0.5]


def test_no_more_requests_run_at_once_than_allowed():
    running, most, lock, both = 0, 0, threading.Lock(), threading.Barrier(2)

    def counted(body):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        both.wait(10)
        with lock:
            running -= 1
        return completion("Yes", first=YES)

    verdicts, _ = judged(counted, 6, concurrency=2)
    assert len(verdicts) == 6
    assert most == 2


def test_a_rate_limit_fails_its_own_picture_for_the_moment_and_the_pause_asked_for_is_kept():
    refused, waits = [], []

    def once(body):
        if '"prompt 1"' in question_of(body) and not refused:
            refused.append(body)
            return Answer({"error": {"message": "slow down"}}, 429, {"Retry-After": "30"})
        return completion("Yes", first=YES)

    with serving(once) as chat:
        model = vlm(chat)
        model._endpoint = Endpoint(model.options, wait=waits.append)
        first = model.judge(questions(3))
        assert [isinstance(item, Failure) for item in first] == [False, True, False]
        assert first[1].transient
        assert "refused for the moment (429: slow down)" in first[1].reason
        assert not waits
        again = model.judge(questions(2)[1:])
    assert again[0].score == 0.75
    assert waits == [pytest.approx(30, abs=10)]


@pytest.mark.parametrize("status", [408, 500, 502, 503])
def test_a_failing_server_is_worth_another_attempt(status):
    (failure,), _ = judged(Answer(b"<html>Bad gateway</html>", status))
    assert failure.transient
    assert str(status) in failure.reason


def test_an_answer_that_does_not_come_in_time_is_worth_another_attempt():
    given_up = threading.Event()

    def late(body):
        assert given_up.wait(10)
        return completion("Yes", first=YES)

    with serving(late) as chat:
        (failure,) = vlm(chat, timeout=0.2).judge(questions(1))
        given_up.set()
    assert failure.transient
    assert "did not answer within 0.2 seconds" in failure.reason


def test_a_server_that_is_not_there_is_worth_another_attempt():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    (failure,) = RemoteVlm(VlmOptions(base_url=f"http://127.0.0.1:{port}/v1", served="m")).judge(questions(1))
    assert failure.transient
    assert "is its server running?" in failure.reason


def test_a_wrong_key_ends_the_run_and_is_not_repeated_in_the_message(monkeypatch):
    monkeypatch.setenv(KEY, " sk-secret\n")

    def check(body):
        return Answer({"error": {"message": "Incorrect API key: sk-secret"}}, 401)

    with serving(check) as chat, pytest.raises(ModelError) as caught:
        vlm(chat, api_key_env=KEY).judge(questions(3))
    assert set(chat.keys) == {"Bearer sk-secret"}
    assert "sk-secret" not in str(caught.value)
    for part in ("tiny/vlm", chat.url, "401", f"set the environment variable {KEY}"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer({"detail": "no such model"}, 404), "/v1/models lists what is served"),
        (Answer({"message": "images are not supported"}, 400), "images are not supported"),
        (Answer({"error": {"message": "pay", "code": "insufficient_quota"}}, 429), "quota is used up"),
        (Answer(b"", 403), "name the environment variable that holds its key"),
        (Answer(b"", 307, {"Location": "/elsewhere"}), "307"),
    ],
)
def test_a_refusal_that_no_picture_would_escape_ends_the_run_with_what_to_do(answer, said):
    with serving(lambda body: answer) as chat, pytest.raises(ModelError, match="tiny/vlm at http") as caught:
        vlm(chat).judge(questions(2))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(b"{not json"), "no chat completion"),
        (Answer({"choices": []}), "no chat completion (choices"),
        (Answer({"choices": [{"message": {"content": ["x"]}}]}), "no chat completion (choices.0.message.content"),
        (completion("Yes"), 'set judge = "rubric"'),
        (completion("Yes", first={}), "tells no log-probabilities"),
        (completion("Maybe", first={"Maybe": -0.1, "It": -3.0}), "less than 0.5; likeliest were 'Maybe', 'It'"),
        (completion("Yes", first={"yes": math.nan, "no": -1.0}), "less than 0.5"),
    ],
)
def test_an_answer_that_cannot_be_scored_is_a_failure_of_its_picture_and_never_a_score(answer, said):
    def second_is_odd(body):
        return answer if '"prompt 1"' in question_of(body) else completion("Yes", first=YES)

    verdicts, _ = judged(second_is_odd, 3)
    assert [verdict.score for verdict in verdicts] == [0.75, None, 0.75]
    assert said in verdicts[1].failure


def test_a_rubric_answer_gives_score_aspects_and_explanation():
    told = {"explanation": "Two dogs.", "content": 4, "attributes": "9", "quality": 11, "score": 6.5}
    (verdict,), chat = judged(completion(f"Sure:\n```json\n{json.dumps(told)}\n```", tokens=90), judge=Judge.RUBRIC)
    assert (verdict.score, verdict.rationale, verdict.tokens) == (0.65, "Two dogs.", 90)
    assert dict(verdict.aspects) == {"content": 0.4, "attributes": 0.9}
    schema = chat.requests[0]["response_format"]["json_schema"]["schema"]
    assert next(iter(schema["properties"])) == "explanation"
    assert list(schema["properties"])[-1] == "score"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (completion("Eight out of ten."), "holds no JSON object"),
        (completion('{"explanation": "x", "score": 12}'), "no score from 0 to 10"),
        (completion('{"explanation": "x", "score": true}'), "no score from 0 to 10"),
        (completion('{"explanation": "x"}'), "no score from 0 to 10"),
        (completion(None), "holds no JSON object"),
        (completion('{"explanation": "' + "very " * 30_000, finish="length"), "cut off at max_tokens = 512"),
    ],
)
def test_a_rubric_answer_without_a_score_is_a_failure(answer, said):
    (verdict,), _ = judged(answer, judge=Judge.RUBRIC)
    assert verdict.score is None
    assert said in verdict.failure
    assert len(verdict.failure) < 300


def reflected(answer, **more):
    with serving(lambda body: answer) as chat:
        return vlm(chat).reflect([ReflectRequest(candidate(0), picture(0), "two dogs", **more)])[0], chat


def test_a_reflection_is_its_edits_joined_and_keeps_the_models_words():
    raw = "1. Add a second dog.\n2. Remove the cat."
    seen = Verdict(candidate(0).id, "judge@1", score=0.2, rationale="only one dog")
    found, chat = reflected(completion(raw, tokens=55), verdict=seen, history=("add a dog",))
    assert found.edits == ("add a second dog", "remove the cat")
    assert (found.text, found.raw, found.tokens) == ("add a second dog. remove the cat", raw, 55)
    assert "only one dog" in question_of(chat.requests[0])
    assert "add a dog" in question_of(chat.requests[0])


def test_nothing_to_correct_is_an_answer_and_chatter_is_a_failure():
    assert reflected(completion("Nothing to correct."))[0].nothing_to_correct
    assert reflected(completion("A lovely day at the beach."))[0].failure
    assert reflected(completion(""))[0].failure


def test_a_reflection_cut_at_its_limit_keeps_its_whole_sentences():
    found, _ = reflected(completion("Add a second dog. Remove the ca", finish="length"))
    assert found.edits == ("add a second dog",)


def test_a_refined_prompt_is_one_line_and_a_cut_one_a_failure():
    item = RefineRequest(candidate(0), picture(0), "two dogs", "two dogs, photo", reflection="add a dog")
    with serving(lambda body: completion('Prompt: "Exactly two brown dogs."')) as chat:
        (found,) = vlm(chat, token_limit="max_tokens", max_tokens=99).refine([item])
    assert found.text == "Exactly two brown dogs."
    assert chat.requests[0]["max_tokens"] == 99
    assert "add a dog" in question_of(chat.requests[0])
    with serving(lambda body: completion("Exactly two bro", finish="length")) as chat:
        (found,) = vlm(chat).refine([item])
    assert "cut off" in found.failure


def test_the_name_follows_what_decides_answers_and_nothing_else():
    def name(**options):
        return RemoteVlm(VlmOptions(**{"base_url": "http://a/v1", "served": "m", **options})).name

    assert name() == name(base_url="http://b:9/v1", timeout=3, concurrency=1, api_key_env="X")
    different = [name(), name(judge="rubric"), name(temperature=1), name(revision="2"), name(extra={"seed": 1})]
    assert len(set(different)) == len(different)
    assert name().startswith("m@served+logprobs.")


def test_a_key_that_is_not_set_is_a_need(monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    options = VlmOptions(base_url="http://a/v1", served="m", api_key_env=KEY)
    (sentence,) = key_missing(options)
    assert f"{KEY} is not set" in sentence
    monkeypatch.setenv(KEY, "k")
    assert key_missing(options) == []
    assert key_missing(VlmOptions(base_url="http://a/v1", served="m")) == []


def test_asking_nothing_makes_no_request():
    assert Endpoint(EndpointOptions(base_url="http://127.0.0.1:1/v1", served="m")).ask([]) == []


def test_what_comes_of_a_question_is_a_value():
    with serving(lambda body: completion("hello", finish="length", tokens=3)) as chat:
        endpoint = Endpoint(EndpointOptions(base_url=chat.url, served="m"))
        assert endpoint.ask([{"messages": []}]) == [Said("hello", True, (), 3)]
    assert isinstance(endpoint.ask([{"messages": []}])[0], Fault)


def test_probability_of_yes_is_symmetric():
    first = [("yes", -0.3), ("no", -1.5), ("perhaps", -4.0)]
    swapped = [("no", -0.3), ("yes", -1.5), ("perhaps", -4.0)]
    assert probability_of_yes(first, 0.5) + probability_of_yes(swapped, 0.5) == pytest.approx(1)


def test_the_shipped_stack_has_one_model_in_three_roles():
    plan = stack.read("flux-dev-vlm")
    verifier, reflector, refiner = (part.options for part in plan.parts if part.model == "openai-vlm")
    assert verifier == reflector == refiner
