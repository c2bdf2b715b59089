"""The benchmark of speech: which recordings are paired, what its judges learn from, and that its page has mean and spread."""

import pytest
import torch

from benchmarks import speech, speech_sounds
from pyro_dsvae.data.speech.recordings import Recording
from pyro_dsvae.data.speech.synthetic_voices import TEST, WORDS

pytest.importorskip("soundfile", reason="soundfile is the extra 'speech'")


def spoken(voice: str, word: str) -> speech_sounds.Spoken:
    return speech_sounds.Spoken(
        voice, word, Recording(torch.zeros(10), 16_000, 1.0, 0.0, 16_000, 1, False), torch.zeros(40, 80)
    )


def test_the_fit_hears_neither_the_voices_nor_the_words_that_are_measured() -> None:
    assert spoken("flite-kal16", WORDS[0]).part == "train, heard"
    assert spoken("flite-kal16", WORDS[-1]).part == "train, new"
    assert {spoken(voice, word).part for voice in TEST for word in WORDS[-speech_sounds.HELD_WORDS :]} == {"test, new"}


def test_a_conversion_has_another_voice_and_another_word() -> None:
    some = [spoken(voice, word) for voice in TEST[:3] for word in WORDS[:4]]
    pairs = speech.conversions(some, 50)
    assert len(pairs) == 50
    assert all(some[i].voice != some[j].voice and some[i].word != some[j].word for i, j in pairs)
    assert pairs == speech.conversions(some, 50)


def test_the_page_has_means_and_ranges() -> None:
    low = {name: 0.1 for name, _, _ in speech.ROWS}
    high = {name: 0.4 for name, _, _ in speech.ROWS}
    page = speech.page([low, high], "said")
    assert page.count("| 25.0 % | 10.0 % to 40.0 % |") == len(speech.ROWS) - 1
    assert "| mel-cepstral distortion of reconstructions, dB | 0.25 | 0.10 to 0.40 |" in page
