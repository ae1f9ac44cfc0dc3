/* Where sound comes from: the microphone as it is heard, or a file as fast as the server takes it. */
const AHEAD = 4;  // seconds of a file that may be on their way

/* Samples in -1..1 as s16le. */
export function pcm(samples) {
  const out = new DataView(new ArrayBuffer(2 * samples.length));
  for (let i = 0; i < samples.length; i++) {
    out.setInt16(2 * i, Math.max(-1, Math.min(1, samples[i])) * 32767, true);
  }
  return out.buffer;
}

/* Root mean square in decibels below full scale, -60 at least. */
export function decibels(samples) {
  let sum = 0;
  for (const x of samples) sum += x * x;
  return Math.max(-60, 10 * Math.log10(sum / samples.length + 1e-9));
}

/* The microphone at the model's rate, or at its own where the browser cannot: then the server resamples. */
export async function microphone(rate, heard) {
  if (!navigator.mediaDevices || !window.AudioWorkletNode) {
    throw new Error("Browsers give the microphone to https pages and to localhost only: open this page there, or open a file of sound.");
  }
  const plain = {channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false};
  let context = new AudioContext({sampleRate: rate}), source;
  await context.audioWorklet.addModule("/chunks.js");  // before the microphone opens, so that its first sound is heard
  const stream = await navigator.mediaDevices.getUserMedia({audio: plain});
  try {
    source = context.createMediaStreamSource(stream);
  } catch {
    context.close();
    context = new AudioContext();
    await context.audioWorklet.addModule("/chunks.js");
    source = context.createMediaStreamSource(stream);
  }
  const chunks = new AudioWorkletNode(context, "chunks", {numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit"});
  const close = () => {
    for (const track of stream.getTracks()) track.stop();
    if (context.state !== "closed") context.close();
  };
  chunks.port.onmessage = ({data}) => heard(data);
  source.connect(chunks);
  context.resume();
  return {rate: context.sampleRate, close};
}

/* What is wrong with the microphone, and what to do. */
export function blocked(error) {
  const said = {
    NotAllowedError: "The microphone is blocked: allow it in the address bar, then start again.",
    NotFoundError: "No microphone was found: connect one, or open a file of sound.",
    NotReadableError: "The microphone is taken: close the program that holds it, then start again.",
  };
  return said[error.name] || error.message;
}

/* A file's sound at the model's rate, its channels averaged. */
export async function decoded(file, rate) {
  const buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(await file.arrayBuffer());
  const samples = new Float32Array(buffer.length);
  for (let c = 0; c < buffer.numberOfChannels; c++) {
    buffer.getChannelData(c).forEach((x, i) => { samples[i] += x / buffer.numberOfChannels; });
  }
  return samples;
}

/* Sends a file's samples in pieces, never more than AHEAD seconds beyond what was heard. `heard` is called again then. */
export function paced(samples, rate, most, send, done) {
  const size = Math.min(rate, Math.floor(most / 2));
  let at = 0;
  return function heard(seconds) {
    while (at < samples.length && at / rate < seconds + AHEAD) {
      send(samples.subarray(at, at + size));
      at += size;
      if (at >= samples.length) done();
    }
  };
}
