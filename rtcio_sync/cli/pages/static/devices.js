// Our own microphone and camera: one stream for the whole visit, in which tracks come and go.
//
//   const devices = new Devices({ tracks, changed, problem });
//   devices.start({ mic: true, cam: true });   // asks for both; what fails is switched off
//   devices.toggle("mic");
//
// tracks(): the stream has other tracks; changed(): a switch is on or off, for the others to know;
// problem(text): something failed, in words for the person who sits there.

const PICTURE = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24 } };
const FADE = 500; // ms of black frames before a camera is let go, so that no face stays frozen

export class Devices {
  stream = new MediaStream();
  /** What the switches say; a device may still be on its way. */
  on = { mic: false, cam: false };

  #tell;
  #visit = 0;

  constructor(tell) {
    this.#tell = tell;
  }

  /** Asks for what is wanted, together if it can be had together. */
  async start(on) {
    this.on = { ...on };
    const kinds = ["mic", "cam"].filter((kind) => on[kind]);
    let error = kinds.length ? await this.#open(kinds) : null;
    // One missing device, or one forbidden, must not cost the other.
    if (error && kinds.length > 1) {
      const errors = [await this.#open(["mic"]), await this.#open(["cam"])];
      kinds.splice(0, 2, ...kinds.filter((_, index) => errors[index]));
      error = errors.find(Boolean);
    }
    if (error && error !== "left") {
      for (const kind of kinds) this.on[kind] = false;
      this.#tell.problem(`${lacking(kinds, error)} You can see, hear and write all the same.`);
    }
    this.#tell.changed();
  }

  async toggle(kind) {
    const on = (this.on[kind] = !this.on[kind]);
    const track = this.#track(kind);
    if (track) {
      // A muted microphone must be back within a word; a camera must let its light go out.
      track.enabled = on;
      if (kind === "cam" && !on) setTimeout(() => track.enabled || this.#drop(track), FADE);
    } else if (on) {
      this.#tell.changed(); // at once: a device may take its time
      const error = await this.#open([kind]);
      if (error) this.on[kind] = false;
      if (error && error !== "left") this.#tell.problem(lacking([kind], error));
    }
    this.#tell.changed();
  }

  stop() {
    this.#visit++;
    this.on = { mic: false, cam: false };
    for (const track of this.stream.getTracks()) this.#drop(track);
  }

  /** Resolves to null, or to the name of what went wrong. */
  async #open(kinds) {
    if (!navigator.mediaDevices) return "SecurityError";
    const visit = this.#visit;
    let found;
    try {
      const video = kinds.includes("cam") && PICTURE;
      found = await navigator.mediaDevices.getUserMedia({ audio: kinds.includes("mic"), video });
    } catch (error) {
      return visit === this.#visit ? error.name : "left";
    }
    for (const track of found.getTracks()) {
      // Gone, or switched off again, before the answer came.
      if (visit !== this.#visit || !this.on[kindOf(track)]) track.stop();
      else this.#keep(track);
    }
    this.#tell.tracks();
    return visit === this.#visit ? null : "left";
  }

  #track(kind) {
    return this.stream.getTracks().find((track) => kindOf(track) === kind);
  }

  #keep(track) {
    const kind = kindOf(track), old = this.#track(kind);
    if (old) this.#drop(old);
    this.stream.addTrack(track);
    track.onended = () => {
      this.#drop(track);
      this.on[kind] = false;
      this.#tell.problem(kind === "mic" ? "The microphone is gone." : "The camera is gone.");
      this.#tell.changed();
    };
  }

  #drop(track) {
    track.onended = null;
    track.stop();
    this.stream.removeTrack(track);
    this.#tell.tracks();
  }
}

function kindOf(track) {
  return track.kind === "audio" ? "mic" : "cam";
}

function lacking(kinds, error) {
  const both = kinds.length > 1;
  const one = kinds[0] === "mic" ? "microphone" : "camera";
  const what = both ? "Camera and microphone are" : `The ${one} is`;
  switch (error) {
    case "SecurityError":
      return `${what} out of reach: the page must be opened with https:// or as localhost.`;
    case "NotAllowedError":
      return `${what} not allowed for this page: the browser's address bar says where to change that.`;
    case "NotReadableError":
      return `${what} in use: another program may have to let go first.`;
    default:
      return `No ${both ? "camera and no microphone" : one} was found.`;
  }
}
