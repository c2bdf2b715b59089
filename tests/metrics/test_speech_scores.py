"""Whole recordings of constructed codes whose truth is known; cepstra of constructed spectra."""

import math
from dataclasses import replace

import pytest
import torch

from pyro_dsvae.data.dataset import Label
from pyro_dsvae.data.speech.cepstra import cepstra, mel_cepstral_distortion
from pyro_dsvae.inference.latent_space.encoding import Codes
from pyro_dsvae.metrics.speech import SpeechScores, Utterances, speech_scores, utterances

SPEAKERS, WORDS, TAKES, WINDOWS, T, SIZE, Z = 6, 5, 6, 3, 10, 8, 3


def recordings(speakers: range, voice_in: str = "f") -> Utterances:
    """Every speaker says every word several times; a voice is in f or in z, the word is in the course of z."""
    draw = torch.Generator().manual_seed(speakers.start)
    names, who, what, f, z = [], [], [], [], []
    courses = torch.randn(WORDS, WINDOWS, T, Z, generator=torch.Generator().manual_seed(9))
    courses -= courses.mean((1, 2), keepdim=True)  # so that no mean of z tells the word
    for speaker in speakers:
        voice = torch.randn(SIZE, generator=draw)
        for word in range(WORDS):
            for take in range(TAKES):
                for window in range(WINDOWS):
                    names.append(f"{speaker}/{word}-{take}.wav from {window}.000 s")
                    who.append(speaker)
                    what.append(word)
                    f.append((voice if voice_in == "f" else 0) + 0.1 * torch.randn(SIZE, generator=draw))
                    path = courses[word, window] + 0.1 * torch.randn(T, Z, generator=draw)
                    z.append(path + (voice[:Z] if voice_in == "z" else 0))
    mean, path = torch.stack(f), torch.stack(z)
    codes = Codes(mean, torch.full_like(mean, 0.1), path, torch.ones_like(path), mean[None, :0], path[None, :0])
    labels = {
        "speaker": Label(torch.tensor(who), tuple(map(str, range(2 * SPEAKERS))), "static"),
        "word": Label(torch.tensor(what), tuple(map(str, range(WORDS))), "dynamic"),
    }
    return utterances(names, labels, codes, (torch.zeros(SIZE), torch.ones(SIZE)))


def scores(voice_in: str) -> SpeechScores:
    return speech_scores(recordings(range(SPEAKERS), voice_in), recordings(range(SPEAKERS, 2 * SPEAKERS), voice_in))


def test_a_voice_in_f_and_words_in_z_are_told_apart_and_a_voice_in_z_is_found_out() -> None:
    found = scores("f")
    assert (found.utterances, found.speakers, found.told) == (SPEAKERS * WORDS * TAKES, SPEAKERS, {"word": 180})
    assert found.equal_error_f < 0.01
    assert 0.4 < found.equal_error_z < 0.6
    assert found.gap == pytest.approx(found.equal_error_z - found.equal_error_f)
    assert found.words["word"]["z"].linear > 0.98
    assert found.words["word"]["f"].linear < 0.35
    assert found.words["word"]["f"].chance == pytest.approx(0.2)
    leaked = scores("z")
    assert 0.4 < leaked.equal_error_f < 0.6
    assert leaked.equal_error_z < 0.2


def test_windows_of_one_recording_are_no_trial() -> None:
    """Windows of a recording are alike in a way that says nothing of its speaker: verification must not profit."""
    draw = torch.Generator().manual_seed(0)
    own = torch.randn(40, 1, SIZE, generator=draw).expand(40, WINDOWS, SIZE).flatten(0, 1)
    names = [f"{i}.wav from {k} s" for i in range(40) for k in range(WINDOWS)]
    path = own[:, None].expand(-1, T, -1)
    codes = Codes(own, torch.full_like(own, 0.1), path, torch.ones_like(path), own[None, :0], path[None, :0])
    who = torch.arange(40).remainder(8).repeat_interleave(WINDOWS)
    labels = {"speaker": Label(who, tuple("abcdefgh"), "static")}
    found = utterances(names, labels, codes, (torch.zeros(SIZE), torch.ones(SIZE)))
    assert len(found) == 40
    result = speech_scores(found, found)
    assert 0.4 < result.equal_error_f < 0.6
    assert 0.4 < result.equal_error_z < 0.6


def test_f_of_a_recording_is_pooled_by_precision() -> None:
    f, scale = torch.tensor([[0.0], [3.0]]), torch.tensor([[0.1], [0.2]])
    z = torch.tensor([[[1.0], [2.0]], [[3.0], [6.0]]])
    codes = Codes(f, scale, z, torch.ones_like(z), f[None, :0], z[None, :0])
    found = utterances(["a from 0 s", "a from 1 s"], {}, codes, (torch.zeros(1), torch.full((1,), 50.0)))
    assert float(found.f) == pytest.approx((0 / 0.01 + 3 / 0.04) / (1 / 0.01 + 1 / 0.04), rel=1e-4)
    assert float(found.z) == pytest.approx(3.0)


def test_words_that_the_training_part_has_not_are_not_asked() -> None:
    train, test = recordings(range(SPEAKERS)), recordings(range(SPEAKERS, 2 * SPEAKERS))
    few = train.take((train.labels["word"].values < 2).nonzero().flatten())
    found = speech_scores(few, test)
    assert found.told == {"word": SPEAKERS * 2 * TAKES}
    assert found.words["word"]["z"].linear > 0.98
    assert found.words["word"]["f"].chance == pytest.approx(0.5)
    none = replace(train.labels["word"], values=torch.full((len(train),), 3))
    rest = test.take((test.labels["word"].values < 2).nonzero().flatten())
    assert speech_scores(replace(train, labels={**train.labels, "word": none}), rest).words == {}


def test_cepstra_are_the_weights_of_cosines_and_distortion_that_of_kubichek() -> None:
    places = (torch.arange(80).double() + 0.5) / 80
    x = torch.randn(7, 80).double()
    y = x + 4 + 0.3 * torch.cos(math.pi * 2 * places) - 0.4 * torch.cos(math.pi * 9 * places)
    apart = cepstra(y) - cepstra(x)
    expected = torch.zeros(7, 24).double()
    expected[:, 1], expected[:, 8] = 0.3, -0.4
    torch.testing.assert_close(apart, expected, atol=1e-12, rtol=0)
    assert mel_cepstral_distortion(x, y) == pytest.approx(10 / math.log(10) * math.sqrt(2 * 0.25))
    # That is the root mean square difference of both spectra in decibels, without their levels.
    decibels = 20 / math.log(10) * (y - x - 4)
    assert mel_cepstral_distortion(x, y) == pytest.approx(float(decibels.square().mean().sqrt()), rel=1e-6)
