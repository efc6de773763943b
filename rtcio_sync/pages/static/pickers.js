// The lists to choose microphone, camera and speaker from: on the entrance and in the settings.

import { $, made } from "./dom.js";

export class Pickers {
  #devices;

  /** chosen(kind, id): the user has chosen a device. */
  constructor(devices, chosen) {
    this.#devices = devices;
    for (const kind of ["mic", "cam", "speaker"]) {
      $(`pick-${kind}`).onchange = ({ target }) => chosen(kind, target.value);
    }
  }

  /** The same lists are shown in both places; they move to `element`. `open`: not only their heading. */
  moveTo(element, open) {
    element.append($("pickers"));
    $("pickers").open = open;
  }

  draw() {
    const { found } = this.#devices;
    for (const [kind, devices] of Object.entries(found)) {
      const list = $(`pick-${kind}`);
      // Not every browser can choose the speaker.
      const useless = kind === "speaker" && !("setSinkId" in HTMLMediaElement.prototype);
      list.parentElement.hidden = useless || !devices.length;
      const ids = devices.map((each) => each.deviceId).join();
      if (list.dataset.ids !== ids) {
        list.dataset.ids = ids;
        list.replaceChildren(...devices.map((each) => made("option", each.label, { value: each.deviceId })));
      }
      const chosen = this.#devices.chosen(kind);
      if (devices.some((each) => each.deviceId === chosen)) list.value = chosen;
    }
    $("no-pickers").hidden = Object.values(found).some((each) => each.length);
  }
}
