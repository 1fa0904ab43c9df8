// Keep the page's files for offline use. Serve them with the headers that WebAssembly threads need.

const NAME = "sral-{{version}}";
const FILES = {{files}};
const HEADERS = { "Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Embedder-Policy": "require-corp" };
const scope = self.registration.scope;
const urls = FILES.map((name) => new URL(name, scope).href);
const plain = (url) => url.replace(/[?#].*$/, "");

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

// Fetch past the browser's own cache, which may hold an older version.
const fresh = (url) => new Request(url, { cache: "no-cache" });

async function keepAll() {
  const cache = await caches.open(NAME);
  for (const url of urls) if (!(await cache.match(url))) await cache.add(fresh(url));
  for (const name of await caches.keys()) if (name.startsWith("sral-") && name !== NAME) await caches.delete(name);
}

async function fileOf(event) {
  const url = plain(event.request.url);
  if (!urls.includes(url)) return fetch(event.request);
  const cache = await caches.open(NAME);
  const found = await cache.match(url);
  if (found) return found;
  const response = await fetch(fresh(url));
  if (response.ok) event.waitUntil(cache.put(url, response.clone()).catch(() => {})); // no room: it works without
  return response;
}

async function answer(event) {
  const response = await fileOf(event);
  if (response.status === 0) return response;
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(HEADERS)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

self.addEventListener("message", (event) => {
  if (event.data === "keep") event.waitUntil(keepAll().catch(() => {})); // offline: the next load tries again
});

self.addEventListener("fetch", (event) => {
  const { method, url } = event.request;
  if (method === "GET" && url.startsWith(scope)) event.respondWith(answer(event));
});
