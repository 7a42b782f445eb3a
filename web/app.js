// The page of a millstream server: who is live, and a player.
//
// Plays with hls.js where it is part of the build and the browser has Media Source Extensions, and
// with the browser's own HLS otherwise. The channel is in the fragment: /#live/stream.

const LIST_EVERY_MS = 3000;
const RETRY_MS = 2000;
const HLS_JS = "/assets/vendor/hls.min.js";

const at = (id) => document.getElementById(id);
const video = at("video");

let channels = [];
let player = null; // what stops the one that plays

// ---- words -------------------------------------------------------------------------------------

function say(text, bad = false) {
  at("state").textContent = text;
  at("state").classList.toggle("bad", bad);
}

function curtain(text) {
  at("curtain").textContent = text ?? "";
  at("curtain").hidden = text === null;
}

function notice(text) {
  at("notice").textContent = text ?? "";
  at("notice").hidden = !text;
}

function duration(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  const two = (n) => String(n).padStart(2, "0");
  const [hours, minutes] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(s % 60)}` : `${minutes}:${two(s % 60)}`;
}

const CODECS = [
  [/^avc[13]/, "H.264"], [/^h(vc|ev)1/, "H.265"], [/^av01/, "AV1"], [/^vp09/, "VP9"],
  [/^mp4a\.40\.34/, "MP3"], [/^mp4a/, "AAC"], [/^opus/i, "Opus"], [/^flac/i, "FLAC"], [/^[ea]c-3/, "Dolby"],
];
const codecName = (codec) => CODECS.find(([form]) => form.test(codec))?.[1] ?? codec;

function summary(channel) {
  const size = channel.width ? `${channel.width}×${channel.height}` : "";
  return [size, channel.codecs.map(codecName).join(" + "), duration(Date.now() - channel.since_ms)]
    .filter(Boolean).join(" · ");
}

// ---- the list ----------------------------------------------------------------------------------

const nameOf = (channel) => `${channel.hub}/${channel.channel}`;
const chosen = () => {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return location.hash.slice(1);
  }
};

function row(channel) {
  const [item, link, name, line] = ["li", "a", "b", "small"].map((tag) => document.createElement(tag));
  link.className = "channel";
  link.href = `#${nameOf(channel)}`;
  link.setAttribute("aria-current", String(nameOf(channel) === chosen()));
  name.textContent = nameOf(channel);
  line.textContent = summary(channel);
  link.append(name, line);
  item.append(link);
  return item;
}

function showList() {
  const focused = document.activeElement?.getAttribute?.("href");
  at("channels").replaceChildren(...channels.map(row));
  at("count").textContent = channels.length;
  if (focused) [...at("channels").querySelectorAll("a")].find((a) => a.getAttribute("href") === focused)?.focus();
}

async function list() {
  try {
    const answer = await fetch("/api/v1/live", { cache: "no-store" });
    if (!answer.ok) throw new Error(`it answered ${answer.status}`);
    channels = (await answer.json()).channels;
    at("quiet").textContent = channels.length ? "" : "Nobody is live. Push to a channel and it appears here.";
    showList();
    follow();
    if (!chosen() && channels.length === 1) location.replace(`#${nameOf(channels[0])}`);
  } catch (error) {
    at("quiet").textContent = `The server does not answer (${error.message}). Trying again.`;
  }
  setTimeout(list, LIST_EVERY_MS);
}

/** A broadcast that is over does not come back; the channel's next one is played when it begins. */
function follow() {
  const since = channels.find((channel) => nameOf(channel) === chosen())?.since_ms;
  if (!player || since === undefined) return;
  if (player.over && since !== player.since) route();
  else player.since = since;
}

// ---- the player --------------------------------------------------------------------------------

let library; // a promise: hls.js, or null where this build has none

function hlsJs() {
  library ??= new Promise((resolve) => {
    const script = document.createElement("script");
    script.src = HLS_JS;
    script.onload = () => resolve(window.Hls ?? null);
    script.onerror = () => resolve(null);
    document.head.append(script);
  });
  return library;
}

/** Why the server has nothing to play, in its words; null if it has. */
async function refusal(url) {
  const answer = await fetch(url, { cache: "no-store" });
  if (answer.ok) return null;
  const problem = await answer.json().catch(() => ({}));
  return problem.detail ?? `the server answered ${answer.status}`;
}

async function watch(name) {
  player?.stop();
  if (navigator.userActivation?.isActive) video.muted = false; // a click is leave to make a sound
  const mine = (player = { stop: () => clearTimeout(mine.timer) });
  const url = `/hls/${name.split("/").map(encodeURIComponent).join("/")}/index.m3u8`;
  at("title").textContent = name;
  document.title = `${name} · millstream`;
  at("facts").textContent = "";
  notice(null);
  curtain("Connecting…");
  say("Connecting…");
  const again = () => { mine.timer = setTimeout(() => mine === player && begin(), RETRY_MS); };
  const begin = async () => {
    const [why, Hls] = await Promise.all([refusal(url).catch((error) => error.message), hlsJs()]);
    if (mine !== player) return;
    if (why) {
      say(`Waiting: ${why}.`);
      curtain("Waiting for the channel…");
      again();
    } else if (Hls?.isSupported()) {
      withHlsJs(mine, Hls, url, again);
    } else if (video.canPlayType("application/vnd.apple.mpegurl")) {
      if (!Hls) notice("This server was built without hls.js, so the browser's own HLS plays. “make web” and a new build add it.");
      natively(mine, url, again);
    } else {
      curtain("This browser cannot play HLS here.");
      say("Cannot play.", true);
      notice(Hls
        ? "The browser has neither Media Source Extensions nor HLS of its own."
        : "This server was built without hls.js. Run “make web”, build again, or open the playlist in another player: " + new URL(url, location));
    }
  };
  await begin();
}

function withHlsJs(mine, Hls, url, again) {
  const hls = new Hls({ lowLatencyMode: false, backBufferLength: 30 });
  mine.hls = hls;
  mine.stop = () => { clearTimeout(mine.timer); hls.destroy(); };
  let recoveries = 0;
  hls.on(Hls.Events.ERROR, (_, data) => {
    if (!data.fatal) {
      if (data.details === "bufferStalledError") say("Waiting for more…");
      return;
    }
    if (data.type === Hls.ErrorTypes.MEDIA_ERROR && recoveries++ < 3) {
      say("The picture broke. Recovering…", true);
      hls.recoverMediaError();
      return;
    }
    const status = data.response?.code ? ` (status ${data.response.code})` : "";
    say(`Playback stopped: ${words(data.details)}${status}. Trying again.`, true);
    hls.destroy();
    again();
  });
  hls.on(Hls.Events.FRAG_BUFFERED, () => { recoveries = 0; });
  hls.loadSource(url);
  hls.attachMedia(video);
  play();
}

function natively(mine, url, again) {
  const failed = () => {
    say(`Playback stopped: ${video.error?.message || "the browser cannot play this"}. Trying again.`, true);
    again();
  };
  mine.stop = () => {
    clearTimeout(mine.timer);
    video.removeEventListener("error", failed);
    video.removeAttribute("src");
    video.load();
  };
  video.addEventListener("error", failed, { once: true });
  video.src = url;
  play();
}

const words = (details) => details.replace(/([A-Z])/g, " $1").toLowerCase();

function play() {
  video.play().catch((error) => {
    if (error.name === "NotAllowedError") say("Press play: the browser does not begin by itself.");
  });
}

for (const [event, text] of [
  ["waiting", "Waiting for more…"], ["stalled", "Waiting for more…"], ["pause", "Paused."],
]) {
  video.addEventListener(event, () => player && say(text));
}
video.addEventListener("ended", () => {
  if (!player) return;
  player.over = true;
  say("The broadcast is over.");
});
video.addEventListener("playing", () => { curtain(null); tell(); });

/** What plays, once a second. */
function tell() {
  if (!player || video.paused || video.readyState < 3) return;
  const details = player.hls?.latestLevelDetails ?? player.hls?.levels?.[player.hls.currentLevel]?.details;
  const live = details ? details.live : !Number.isFinite(video.duration);
  const latency = player.hls?.latency;
  say(live ? `Playing live${latency ? `, ${latency.toFixed(1)} s behind` : ""}.` : "Playing the recording.");
  const level = player.hls?.levels?.[player.hls.currentLevel];
  const rate = level?.attrs?.["FRAME-RATE"];
  at("facts").textContent = [
    video.videoWidth ? `${video.videoWidth}×${video.videoHeight}` : "sound only",
    rate ? `${Number(rate)} frames/s` : "",
    level ? [level.videoCodec, level.audioCodec].filter(Boolean).map(codecName).join(" + ") : "",
    level?.bitrate ? `up to ${(level.bitrate / 1e6).toFixed(1)} Mbit/s` : "",
    player.hls ? "hls.js" : "the browser's own HLS",
  ].filter(Boolean).join(" · ");
}

// ---- begin -------------------------------------------------------------------------------------

function route() {
  const name = chosen();
  showList();
  if (name) {
    at("name").value = name;
    watch(name);
  }
}

at("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = at("name").value.trim().replace(/^\/+|\/+$/g, "");
  if (!name) return;
  if (chosen() === name) route();
  else location.hash = name;
});
window.addEventListener("hashchange", route);
setInterval(tell, 1000);
route();
list();
