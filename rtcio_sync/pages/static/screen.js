// Sharing our own screen, a window or a tab, with the sound of a tab.

import { notice } from "./notices.js";

// Music and films in a shared tab need their sound as it is.
const AS_IT_IS = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
const ASKED = { video: true, audio: AS_IT_IS, systemAudio: "include", surfaceSwitching: "include" };

export class ScreenShare {
  /** What is shared; null: nothing. */
  stream = null;

  #tell;
  #asking = false;

  /** started(stream), stopped(stream); isWanted(): whether we are still in the call. */
  constructor(tell) {
    this.#tell = tell;
  }

  static get isPossible() {
    return Boolean(navigator.mediaDevices?.getDisplayMedia); // phones have none
  }

  async toggle() {
    if (this.stream) return this.stop();
    if (this.#asking) return; // the browser's dialog is open
    let stream;
    this.#asking = true;
    try {
      stream = await navigator.mediaDevices.getDisplayMedia(ASKED);
    } catch (error) {
      // NotAllowedError: the user closed the browser's dialog.
      if (error.name !== "NotAllowedError") notice("Your screen cannot be shared.");
      return;
    } finally {
      this.#asking = false;
    }
    this.stream = stream;
    if (!this.#tell.isWanted()) return this.stop();
    const [video] = stream.getVideoTracks();
    video.contentHint = "detail";
    video.onended = () => this.stop(); // by the browser's own button
    this.#tell.started(stream);
  }

  stop() {
    const { stream } = this;
    if (!stream) return;
    this.stream = null;
    for (const track of stream.getTracks()) track.stop();
    this.#tell.stopped(stream);
  }
}
