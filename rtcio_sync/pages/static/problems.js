// What the page says when something goes wrong. Texts for visitors, with what the operator can do.

/** Reasons of the server's `join-error`. */
export const REASONS = {
  "invalid-room": "This is not a valid room name. A name may have up to 256 characters.",
  "password-required": "This room needs a password.",
  "wrong-password": "This is not the password of this room.",
  "room-full": "This room is full. Try again when somebody has left.",
  "try-again": "The server is busy. Try again in a moment.",
  "too-many-rooms": "You are in too many rooms. Leave another room first.",
  forbidden: "You are not allowed to enter this room.",
};

/** Why the page cannot connect to the server, as `Signaling` found out. */
export function unreachable({ why }) {
  switch (why) {
    case "origin":
      return (
        `The server does not allow pages from ${location.origin}. The operator can allow it: ` +
        "rtcio-sync --allowed-origins, or Server(cors_allowed_origins=…)."
      );
    case "full":
      return "The server is full. Trying again…";
    case "websocket":
      return "The server answers, but a WebSocket connection fails. A proxy may block it. Trying again…";
    default:
      return "The server does not answer. Trying again…";
  }
}

/** Why two peers may not reach each other, by the ICE servers that the server gave us. */
export function noWay(iceServers) {
  const urls = iceServers.flatMap((each) => each.urls ?? []);
  const turn = urls.some((url) => url.startsWith("turn"));
  const said = "There is no connection to somebody in this room: a network blocks the direct connection. ";
  if (turn) {
    return `${said}The TURN server did not work either. The operator should check the address, the secret and the open ports of the TURN server.`;
  }
  if (urls.length) return `${said}The operator can set a TURN server: --turn-host and --turn-secret.`;
  return `${said}The operator can set a STUN server (--stun) and, if that is not enough, a TURN server (--turn-host and --turn-secret).`;
}

/** Why a microphone or a camera did not start. `error` is the name of getUserMedia's exception. */
export function lacking(kinds, error) {
  const both = kinds.length > 1;
  const one = kinds[0] === "mic" ? "microphone" : "camera";
  const what = both ? "Camera and microphone are" : `The ${one} is`;
  switch (error) {
    case "SecurityError":
      return `${what} not available: browsers allow them only on pages with https:// and on localhost.`;
    case "NotAllowedError":
      return `${what} not allowed for this page. You can change this in the browser's address bar.`;
    case "NotReadableError":
      return `${what} in use. Close other programs that use the same device.`;
    default:
      return `No ${both ? "camera and no microphone" : one} was found.`;
  }
}
