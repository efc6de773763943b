// Our own microphone and camera: one stream, for the preview and for the whole call. Its tracks come
// and go.
//
//   const devices = new Devices({ tracks, changed, problem });
//   devices.start({ mic: true, cam: true });   // asks for what is not running yet
//   devices.toggle("mic");
//   devices.choose("cam", deviceId);           // another device, also during a call
//   devices.level;                             // loudness of the microphone, 0 to 1
//
// tracks(): the stream has other tracks; changed(): a switch or the list of devices changed;
// problem(text): something failed; the text is for the user.

import { recall, remember } from "./dom.js";
import { lacking } from "./problems.js";

const PICTURE = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24 } };
const FADE = 500; // ms of black frames before a camera stops, so that no face stays frozen
const INPUTS = { mic: "audioinput", cam: "videoinput", speaker: "audiooutput" };

export class Devices {
  stream = new MediaStream();
  /** The state of the switches; a device may not have started yet. */
  on = { mic: false, cam: false };
  /** The devices to choose from, by kind; empty until the user has allowed one. */
  found = { mic: [], cam: [], speaker: [] };

  #tell;
  #visit = 0;
  #context = null;
  #analyser = null;
  #samples = new Float32Array(8192); // 170 ms, so that no short sound is missed

  constructor(tell) {
    this.#tell = tell;
    navigator.mediaDevices?.addEventListener("devicechange", () => this.#look());
  }

  /** Whether the user has allowed the page a device before, so that no question comes up. */
  async isAllowed() {
    try {
      const asked = ["camera", "microphone"].map((name) => navigator.permissions.query({ name }));
      return (await Promise.all(asked)).some(({ state }) => state === "granted");
    } catch {
      return false; // a browser that does not know these names
    }
  }

  /** Asks for the devices that are wanted and not running, both at once if possible. */
  async start(on) {
    this.on = { ...on };
    const kinds = ["mic", "cam"].filter((kind) => on[kind] && !this.track(kind));
    let error = kinds.length ? await this.#open(kinds) : null;
    // A missing or forbidden device must not cost us the other.
    if (error && error !== "left" && kinds.length > 1) {
      const errors = [await this.#open(["mic"]), await this.#open(["cam"])];
      kinds.splice(0, 2, ...kinds.filter((_, index) => errors[index]));
      error = errors.find(Boolean);
    }
    if (error && error !== "left") {
      for (const kind of kinds) this.on[kind] = false;
      this.#tell.problem(`${lacking(kinds, error)} You can still see, hear and write.`);
    }
    this.#tell.changed();
  }

  async toggle(kind) {
    const on = (this.on[kind] = !this.on[kind]);
    const track = this.track(kind);
    if (track) {
      // A muted microphone must work again at once; a stopped camera must turn its light off.
      track.enabled = on;
      if (kind === "cam" && !on) setTimeout(() => track.enabled || this.#drop(track), FADE);
    } else if (on) {
      this.#tell.changed(); // at once: a device may take time to start
      await this.#reopen(kind);
    }
    this.#tell.changed();
  }

  /** Takes another device of this kind, now and at the next visit. */
  async choose(kind, id) {
    remember("localStorage", `rtcio-${kind}`, id);
    if (kind !== "speaker" && this.on[kind]) await this.#reopen(kind, true);
    this.#tell.changed();
  }

  chosen(kind) {
    const running = kind === "speaker" ? undefined : this.track(kind)?.getSettings().deviceId;
    return running ?? recall("localStorage", `rtcio-${kind}`);
  }

  stop() {
    this.#visit++;
    this.on = { mic: false, cam: false };
    for (const track of this.stream.getTracks()) this.#drop(track);
  }

  track(kind) {
    return this.stream.getTracks().find((track) => kindOf(track) === kind);
  }

  get level() {
    if (!this.#analyser || !this.on.mic) return 0;
    if (this.#context.state === "suspended") this.#context.resume(); // needs a click before
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return this.#samples.reduce((most, each) => Math.max(most, Math.abs(each)), 0);
  }

  async #reopen(kind, another = false) {
    const error = await this.#open([kind], another);
    if (!error || error === "left") return;
    this.on[kind] = Boolean(this.track(kind));
    this.#tell.problem(lacking([kind], error));
  }

  /** Asks for devices, to use those of `another` choice in the place of what runs. Resolves to null,
   * or to the name of what went wrong. */
  async #open(kinds, another = false) {
    if (!navigator.mediaDevices) return "SecurityError";
    const visit = this.#visit;
    // A browser may take "ideal" for less than its own default, so the chosen device is asked for
    // exactly; it may be unplugged by now.
    const ask = (exactly) => {
      const wish = (kind, more) => {
        const id = exactly && recall("localStorage", `rtcio-${kind}`);
        return kinds.includes(kind) && { ...more, ...(id && { deviceId: { exact: id } }) };
      };
      return navigator.mediaDevices.getUserMedia({ audio: wish("mic", {}), video: wish("cam", PICTURE) });
    };
    let found;
    try {
      found = await ask(true).catch((error) => {
        if (error.name !== "OverconstrainedError") throw error;
        return ask(false);
      });
    } catch (error) {
      return visit === this.#visit ? error.name : "left";
    }
    for (const track of found.getTracks()) {
      const kind = kindOf(track);
      // The user left, or turned the device off again, before the answer came. Or it runs by now: who
      // presses Join while the preview starts has asked twice, and peers may get the first already.
      const unwanted = visit !== this.#visit || !this.on[kind] || (!another && this.track(kind));
      if (unwanted) track.stop();
      else this.#keep(track);
    }
    this.#tell.tracks();
    this.#look();
    return visit === this.#visit ? null : "left";
  }

  #keep(track) {
    const kind = kindOf(track), old = this.track(kind);
    if (old) this.#drop(old);
    this.stream.addTrack(track);
    if (kind === "mic") this.#listen(track);
    track.onended = async () => {
      this.#drop(track);
      await this.#reopen(kind); // perhaps there is another one
      const now = this.track(kind)?.label;
      const what = kind === "mic" ? "The microphone" : "The camera";
      this.#tell.problem(now ? `${what} was disconnected. Now in use: ${now}.` : `${what} was disconnected.`);
      this.#tell.changed();
    };
  }

  #listen(track) {
    this.#context ??= new AudioContext();
    this.#analyser?.disconnect();
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = this.#samples.length;
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
  }

  #drop(track) {
    track.onended = null;
    track.stop();
    this.stream.removeTrack(track);
    this.#tell.tracks();
  }

  async #look() {
    const all = await navigator.mediaDevices.enumerateDevices();
    for (const [kind, input] of Object.entries(INPUTS)) {
      this.found[kind] = all.filter((each) => each.kind === input && each.label);
    }
    this.#tell.changed();
  }
}

function kindOf(track) {
  return track.kind === "audio" ? "mic" : "cam";
}
