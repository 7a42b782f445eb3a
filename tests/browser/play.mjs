// Plays a page in headless Chromium and prints what happened as JSON.
//
//   node play.mjs own  http://server/?play=live/demo            SECONDS    the server's own page
//   node play.mjs bare http://server/hls/live/demo/index.m3u8   SECONDS    hls.js on another origin
//
// Time counts from the first picture. Error events of hls.js are all told, fatal or not, whichever
// page it runs in: the page's Hls is replaced by one that listens to itself.
import { chromium } from 'playwright-core';
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:http';

const [kind, url, seconds] = process.argv.slice(2);
const HLS = new URL('../../node_modules/hls.js/dist/hls.min.js', import.meta.url);
const FIRST_PICTURE_MS = 20_000;

let other;
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  args: [
    '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
    '--disable-background-networking', '--disable-component-update', '--disable-sync',
    '--autoplay-policy=no-user-gesture-required',
  ],
});
try {
  const page = await browser.newPage();
  const told = [];
  page.on('pageerror', (error) => told.push({ what: 'exception', text: String(error) }));
  page.on('console', (line) => line.type() === 'error' && told.push({ what: 'console', text: line.text(), at: line.location().url }));
  await page.addInitScript(listen);
  await page.goto(kind === 'bare' ? await serveBarePage() : url);
  const report = await page.evaluate(watch, [Number(seconds) * 1000, FIRST_PICTURE_MS]);
  report.errors.push(...told.filter((event) => !/favicon/.test(event.at ?? '')));
  console.log(JSON.stringify(report));
} finally {
  await browser.close();
  other?.close();
}

// Another port is another origin. It is a real one, for Chromium keeps pages from nowhere off this machine's ports.
async function serveBarePage() {
  const body = barePage(await readFile(HLS, 'utf8'));
  other = createServer((request, response) => {
    response.writeHead(request.url === '/' ? 200 : 404, { 'content-type': 'text/html' });
    response.end(request.url === '/' ? body : '');
  });
  await new Promise((done) => other.listen(0, '127.0.0.1', done));
  return `http://127.0.0.1:${other.address().port}/`;
}

function barePage(script) {
  return `<!doctype html><title>player</title><video muted autoplay playsinline></video>
<script>${script.replaceAll('</script', '<\\/script')}</script>
<script>
  const video = document.querySelector('video');
  const hls = new Hls();
  hls.loadSource(${JSON.stringify(url)});
  hls.attachMedia(video);
  hls.on(Hls.Events.MANIFEST_PARSED, () => video.play());
</script>`;
}

// Runs in the page before its scripts.
function listen() {
  window.millstreamErrors = [];
  let wrapped;
  Object.defineProperty(window, 'Hls', {
    configurable: true,
    get: () => wrapped,
    set(Hls) {
      wrapped = class extends Hls {
        constructor(...options) {
          super(...options);
          this.on(Hls.Events.ERROR, (_, { type, details, fatal, reason, error, url }) => window.millstreamErrors.push({
            what: 'hls.js', type, details, fatal, reason: reason ?? String(error ?? ''), url,
            at: document.querySelector('video')?.currentTime,
          }));
        }
      };
    },
  });
}

// Runs in the page.
async function watch([playMs, firstPictureMs]) {
  const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
  const errors = window.millstreamErrors;
  const opened = performance.now();
  let video;
  while (!(video = document.querySelector('video')) || !(video.currentTime > 0 && video.readyState >= 3)) {
    if (performance.now() - opened > firstPictureMs) {
      errors.push({ what: 'no picture', readyState: video?.readyState, error: video?.error?.message });
      return { progress: 0, decoded: 0, errors };
    }
    await sleep(50);
  }
  const began = performance.now();
  const from = video.currentTime;
  const samples = [];
  video.addEventListener('waiting', () => video.ended || errors.push({ what: 'stall', at: video.currentTime }));
  video.addEventListener('error', () => errors.push({ what: 'video', text: video.error?.message }));
  let jumps = 0;
  let last = from;
  while (performance.now() - began < playMs && !video.ended) {
    await sleep(250);
    // A seek of the player over a hole is no progress.
    const step = video.currentTime - last;
    if (step > 1 || step < 0) { jumps += step; errors.push({ what: 'jump', from: last, to: video.currentTime }); }
    last = video.currentTime;
    const { buffered } = video;
    const end = buffered.length ? buffered.end(buffered.length - 1) : 0;
    samples.push([Math.round(performance.now() - began) / 1000, last, Math.round((end - last) * 100) / 100]);
  }
  const quality = video.getVideoPlaybackQuality();
  return {
    progress: video.currentTime - from - jumps,
    firstPicture: (began - opened) / 1000,
    ended: video.ended,
    duration: video.duration,
    decoded: quality.totalVideoFrames,
    dropped: quality.droppedVideoFrames,
    width: video.videoWidth,
    errors,
    samples: samples.filter((_, index) => index % 8 === 0),
  };
}
