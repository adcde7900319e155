// The search of a page that was opened from a disk: browsers start no worker there.
// What a worker would run is run in a hidden frame. The index is a script, search/search_index.js.
(() => {
  "use strict";
  if (location.protocol !== "file:") return;

  class FrameWorker extends EventTarget {
    #waiting = [];
    #frame;
    #inside = null;

    constructor(url) {
      super();
      this.#frame = document.createElement("iframe");
      this.#frame.hidden = true;
      this.#frame.title = "search";
      document.documentElement.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      const script = inside.document.createElement("script");
      script.src = new URL(url, location.href).href;
      script.addEventListener("load", () => {
        this.#inside = inside;
        for (const data of this.#waiting.splice(0)) this.postMessage(data);
      });
      script.addEventListener("error", () => this.dispatchEvent(new Event("error")));
      inside.document.documentElement.append(script);
    }

    postMessage(data) {
      if (this.#inside === null) this.#waiting.push(data);
      else this.#inside.dispatchEvent(new this.#inside.MessageEvent("message", { data }));
    }

    terminate() {
      this.#frame.remove();
    }
  }

  globalThis.Worker = FrameWorker;
})();
