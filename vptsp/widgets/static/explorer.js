// The explorer of one run, or two of them that show and choose the same.
import {asRoot, make} from "./dom.js";
import {ExplorerView} from "./explorer_view.js";

// Of two runs the second is sent as what it has other than the first.
function payloadsOf(model) {
  const [first, ...others] = model.get("payloads") ?? [model.get("payload")];
  return [first, ...others.map((payload) => ({...first, ...payload}))];
}

function render({model, el}) {
  const views = payloadsOf(model).map((payload) => new ExplorerView(model, payload));
  if (views.length === 1) {
    el.append(views[0].root);
  } else {
    const halves = views.map(({root, study}) => {
      return make("section", {}, make("h4", {textContent: study.heading}), root);
    });
    el.append(asRoot(make("div", {}, ...halves), "vptsp-pair"));
  }
  for (const view of views) {
    view.root.vptsp = view.handle();
    view.start();
  }
  return () => views.forEach((view) => view.stop());
}

export default {render};
