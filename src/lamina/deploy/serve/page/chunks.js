/* In the audio thread: the microphone's blocks of 128 samples as chunks of 40 ms. */
class Chunks extends AudioWorkletProcessor {
  constructor() {
    super();
    this.size = Math.round(0.04 * sampleRate);
    this.chunk = new Float32Array(this.size);
    this.filled = 0;
  }

  process([channels]) {
    const block = channels[0] || new Float32Array(128);
    for (let at = 0; at < block.length;) {
      const n = Math.min(block.length - at, this.size - this.filled);
      this.chunk.set(block.subarray(at, at + n), this.filled);
      at += n;
      this.filled += n;
      if (this.filled === this.size) {
        this.port.postMessage(this.chunk, [this.chunk.buffer]);
        this.chunk = new Float32Array(this.size);
        this.filled = 0;
      }
    }
    return true;
  }
}

registerProcessor("chunks", Chunks);
