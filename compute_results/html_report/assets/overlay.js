// Larger pictures: loaded when they are asked for, and painted as map, map over image, or errors.
"use strict";

Report.overlay = (function () {
  const { data } = Report;
  const KEPT = 8;
  const HIT = [0, 170, 130];
  const FALSE_ALARM = [235, 90, 20];
  const MISS = [70, 150, 255];
  const scenes = new Map(); // key → promise of decoded pictures
  const resolvers = new Map();

  async function decode(source) {
    if (source === null) return null;
    const picture = new Image();
    picture.src = source;
    await picture.decode();
    return picture;
  }

  function pixels(picture) {
    const canvas = document.createElement("canvas");
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    context.drawImage(picture, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height).data;
  }

  function load(image) {
    const key = data.keys[image];
    if (!scenes.has(key)) {
      const arrived = new Promise((resolve, reject) => {
        const script = document.createElement("script");
        script.src = `pictures/${key.slice(0, 2)}/${key}.js`;
        script.onload = () => script.remove();
        script.onerror = () => { scenes.delete(key); script.remove(); reject(new Error(`${script.src} cannot be loaded`)); };
        resolvers.set(key, resolve);
        document.head.append(script);
      });
      scenes.set(key, arrived.then(prepare));
      if (scenes.size > KEPT) scenes.delete(scenes.keys().next().value);
    }
    return scenes.get(key);
  }

  async function prepare(content) {
    const [image, mask, ...maps] = await Promise.all([content.image, content.mask, ...content.maps].map(decode));
    return { image, mask, maps, pixels: new Map() };
  }

  function receive(key, content) {
    resolvers.get(key)?.(content);
    resolvers.delete(key);
  }

  function pixelsOf(scene, which) {
    if (!scene.pixels.has(which)) {
      const picture = which === "image" ? scene.image : which === "mask" ? scene.mask : scene.maps[which];
      scene.pixels.set(which, pixels(picture));
    }
    return scene.pixels.get(which);
  }

  // Paint `which` ("image", "mask" or a method's number) as `show`: "maps", "over" or "errors".
  function paint(canvas, scene, which, show, threshold) {
    const { naturalWidth: width, naturalHeight: height } = scene.image;
    canvas.width = width;
    canvas.height = height;
    const context = canvas.getContext("2d");
    const picture = which === "image" ? scene.image : which === "mask" ? scene.mask : scene.maps[which];
    if (show === "maps" || which === "image") {
      context.drawImage(picture, 0, 0);
      return;
    }
    const base = pixelsOf(scene, "image");
    const mask = pixelsOf(scene, "mask");
    const own = pixelsOf(scene, which);
    const result = context.createImageData(width, height);
    const cut = 255 * threshold;
    for (let at = 0; at < result.data.length; at += 4) {
      let color = HIT;
      let strength = 0;
      if (show === "over") {
        color = FALSE_ALARM;
        strength = (0.7 * own[at]) / 255;
      } else {
        const marked = own[at] >= cut;
        const object = mask[at] > 128;
        if (marked || object) strength = 0.72;
        if (marked && !object) color = FALSE_ALARM;
        if (!marked && object) color = MISS;
      }
      const gray = show === "errors" ? 0.3 * base[at] + 0.59 * base[at + 1] + 0.11 * base[at + 2] : 0;
      for (let channel = 0; channel < 3; channel += 1) {
        const under = show === "errors" ? gray : base[at + channel];
        result.data[at + channel] = (1 - strength) * under + strength * color[channel];
      }
      result.data[at + 3] = 255;
    }
    context.putImageData(result, 0, 0);
  }

  return { load, receive, paint, colors: { HIT, FALSE_ALARM, MISS } };
})();

Report.receive = Report.overlay.receive;
