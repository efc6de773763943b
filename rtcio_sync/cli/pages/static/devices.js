// Our own microphone and camera: one stream for the whole call; its tracks come and go.
//
//   const devices = new Devices({ tracks, changed, problem });
//   devices.start({ mic: true, cam: true });   // asks for both; a device that fails is turned off
//   devices.toggle("mic");
//
// tracks(): the stream has other tracks; changed(): a switch changed, tell the others;
// problem(text): something failed; the text is for the user.

const PICTURE = { width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 24 } };
const FADE = 500; // ms of black frames before a camera stops, so that no face stays frozen

export class Devices {
  stream = new MediaStream();
  /** The state of the switches; a device may not have started yet. */
  on = { mic: false, cam: false };

  #tell;
  #visit = 0;

  constructor(tell) {
    this.#tell = tell;
  }

  /** Asks for the devices, both at once if possible. */
  async start(on) {
    this.on = { ...on };
    const kinds = ["mic", "cam"].filter((kind) => on[kind]);
    let error = kinds.length ? await this.#open(kinds) : null;
    // A missing or forbidden device must not cost us the other.
    if (error && kinds.length > 1) {
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
    const track = this.#track(kind);
    if (track) {
      // A muted microphone must work again at once; a stopped camera must turn its light off.
      track.enabled = on;
      if (kind === "cam" && !on) setTimeout(() => track.enabled || this.#drop(track), FADE);
    } else if (on) {
      this.#tell.changed(); // at once: a device may take time to start
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
      // The user left, or turned the device off again, before the answer came.
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
      this.#tell.problem(kind === "mic" ? "The microphone was disconnected." : "The camera was disconnected.");
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
      return `${what} not available: open this page with https:// or as localhost.`;
    case "NotAllowedError":
      return `${what} not allowed for this page. You can change this in the browser's address bar.`;
    case "NotReadableError":
      return `${what} in use. Close other programs that use the same device.`;
    default:
      return `No ${both ? "camera and no microphone" : one} was found.`;
  }
}
