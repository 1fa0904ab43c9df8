// The folder that the page is built into.

import { lstatSync, readdirSync } from "node:fs";

const OURS = [
  /^(index\.html|single\.html|style\.css|app\.js|worker-(wasm|webgpu)\.js|model\.onnx|sw\.js)$/,
  /^samples(\/[\w-]+\.jpg)?$/,
  /^ort-[\w.-]+\.(wasm|mjs)$/,
];

// Return why a folder must not be replaced by the page: it is a file or a link, or holds what no build wrote.
export function whyNotReplace(folder) {
  const found = lstatSync(folder, { throwIfNoEntry: false });
  if (!found) return "";
  if (!found.isDirectory()) return `${folder} is ${found.isSymbolicLink() ? "a link" : "a file"}`;
  const names = readdirSync(folder, { recursive: true }).map((name) => name.replaceAll("\\", "/"));
  const other = names.find((name) => !OURS.some((pattern) => pattern.test(name)));
  return other === undefined ? "" : `${folder} holds ${JSON.stringify(other)}, which is no part of the page`;
}
