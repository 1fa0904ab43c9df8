// The worker that decodes images and runs the network, and the calls to it.

export const embedded = globalThis.EMBEDDED ?? null; // in the single-file form: {worker, wasm, model}, gzip in base64
export const folder = new URL("./", document.baseURI).href;
const MOST_THREADS = 4; // the rest of the cores are for the browser and for other programs
const isolated = globalThis.crossOriginIsolated && !embedded;
const most = isolated ? Math.min(navigator.hardwareConcurrency || 1, MOST_THREADS) : 1;
const threads = Math.min(Math.max(Number(new URLSearchParams(location.search).get("threads")) || most, 1), most);

let worker = null;
let calls = 0;
const waiting = new Map();

async function unpacked(base64) {
  const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

async function startWorker(provider) {
  if (!embedded) return new Worker(`${folder}worker-${provider}.js`, { type: "module" });
  const code = new Blob([await unpacked(embedded.worker)], { type: "text/javascript" });
  return new Worker(URL.createObjectURL(code));
}

function failAll(message) {
  for (const { reject } of waiting.values()) reject(new Error(message));
  waiting.clear();
}

function receive({ data: { id, value, problem, cancelled, progress } }) {
  const caller = waiting.get(id);
  if (progress) return caller?.progress?.(progress);
  waiting.delete(id);
  return problem ? caller?.reject(Object.assign(new Error(problem), { cancelled })) : caller?.resolve(value);
}

// Return the worker's answer: open, load, predict or save.
export function call(method, options, progress) {
  return new Promise((resolve, reject) => {
    waiting.set(++calls, { resolve, reject, progress });
    worker.postMessage({ id: calls, method, options });
  });
}

export const cancel = () => worker?.postMessage({ method: "cancel" });

// Start the network anew on "wasm" or "webgpu". Return {milliseconds, name}.
export async function openNetwork(provider) {
  worker?.terminate();
  failAll("The network was started anew.");
  worker = await startWorker(provider);
  worker.onmessage = receive;
  worker.onerror = (event) =>
    failAll(`The worker stopped: ${event.message || "its file cannot be loaded"}. Reload the page.`);
  const [model, wasm] = embedded ? await Promise.all([unpacked(embedded.model), unpacked(embedded.wasm)]) : [];
  const files = embedded && { model: new Uint8Array(model), wasm };
  const { milliseconds } = await call("open", { provider, threads, folder, ...files });
  const name = provider === "webgpu" ? "WebGPU" : `WebAssembly, ${threads} thread${threads > 1 ? "s" : ""}`;
  return { milliseconds, name };
}

export async function hasWebGpu() {
  return !embedded && Boolean(await navigator.gpu?.requestAdapter().catch(() => null));
}
