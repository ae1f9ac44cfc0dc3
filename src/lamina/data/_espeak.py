"""The process that speaks for `lamina.data.espeak`: lines of text in, their samples out.

stdin   JSON {"library": path, "data": path, "lines": [[text, voice, speed, pitch], ...]}
stdout  the rate, then for each line the count of its samples and the samples: int32, int32, int16 each
exit 1  what went wrong, on stderr
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from typing import Any

SYNCHRONOUS, UTF8 = 2, 1  # espeak_AUDIO_OUTPUT: samples are handed over before a call returns; espeakCHARS_UTF8
RATE, PITCH = 1, 3  # espeak_PARAMETER
Heard = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main() -> None:
    asked = json.load(sys.stdin)
    try:
        library = ctypes.CDLL(asked["library"])
    except OSError as error:
        sys.exit(f"its library does not load ({error}); reinstall espeakng-loader")
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, asked["data"].encode(), 0)
    if rate <= 0:
        sys.exit(f"it cannot use the data in {asked['data']}; reinstall espeakng-loader")
    chunks: list[bytes] = []

    def heard(samples: Any, n: int, events: Any) -> int:
        if samples and n > 0:
            chunks.append(ctypes.string_at(samples, 2 * n))
        return 0

    callback = Heard(heard)  # kept by its name: the library calls it as long as it speaks
    library.espeak_SetSynthCallback(callback)
    library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # of breath and flutter
    sys.stdout.buffer.write(struct.pack("<i", rate))
    for text, voice, speed, pitch in asked["lines"]:
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            sys.exit(f"it has no voice {voice!r}; give one like en-us+f2")
        library.espeak_SetParameter(RATE, speed, 0)
        library.espeak_SetParameter(PITCH, pitch, 0)
        chunks.clear()
        words = text.encode()
        library.espeak_Synth(words, ctypes.c_size_t(len(words) + 1), 0, 0, 0, UTF8, None, None)
        samples = b"".join(chunks)
        sys.stdout.buffer.write(struct.pack("<i", len(samples) // 2) + samples)


if __name__ == "__main__":
    main()
