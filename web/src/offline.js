// The service worker keeps the page's files, and gives the page the headers that threads need from the next load on.

import { embedded, folder } from "./engine.js";

const PATIENCE = 1500; // milliseconds
const usable = !embedded && location.protocol.startsWith("http") && "serviceWorker" in navigator;

// Wait until the service worker answers this page's requests: the large files are then fetched once and kept.
export async function controlled() {
  if (!usable || navigator.serviceWorker.controller) return;
  const taken = new Promise((resolve) =>
    navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true }));
  const given = navigator.serviceWorker.register(`${folder}sw.js`).then(() => taken, () => {});
  await Promise.race([given, new Promise((resolve) => setTimeout(resolve, PATIENCE))]);
}

// Keep the files that this page did not fetch, and look for a newer page.
export async function keepOffline() {
  if (!usable) return;
  const registration = await navigator.serviceWorker.register(`${folder}sw.js`).catch(() => null);
  if (!registration) return;
  const { active } = await navigator.serviceWorker.ready;
  active.postMessage("keep");
}
