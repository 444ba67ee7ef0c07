// A portfolio's configuration as a form, made from the components' declared parameters. The text area stays the truth:
// every input writes into it, and what is typed there is shown in the form.
(() => {
  "use strict";

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  };

  const start = (area) => {
    const described = JSON.parse(document.getElementById(`${area.id}-described`).textContent);
    const byName = new Map(described.components.map((info) => [info.name, info]));
    const form = make("div", { class: "config-form" });
    const raw = make("details", { class: "config-json" }, make("summary", {}, "As JSON"));
    area.before(form, raw);
    raw.append(area);
    let config = {};

    const write = () => { area.value = JSON.stringify(config, null, 2); };

    const bounds = (info) => [
      info.minimum !== null && `≥ ${info.minimum}`, info.exclusive_minimum !== null && `> ${info.exclusive_minimum}`,
      info.maximum !== null && `≤ ${info.maximum}`, info.exclusive_maximum !== null && `< ${info.exclusive_maximum}`,
    ].filter(Boolean).join(", ");

    const shown = (value) => (Array.isArray(value) ? value.join(", ") : value ?? "");

    // One parameter: an empty input is the default, and is left out of the document.
    const field = (info, params) => {
      const set = (value) => {
        if (value === undefined) delete params[info.name]; else params[info.name] = value;
        write();
      };
      const now = params[info.name];
      const id = `config-${Math.random().toString(36).slice(2)}`;
      const common = { id, "data-param": info.name };
      let input;
      if (info.choices.length || info.type === "boolean") {
        const choices = info.choices.length ? info.choices : [true, false];
        const fallback = info.required ? [] : [make("option", { value: "" }, `default (${shown(info.default)})`)];
        input = make("select", { ...common, class: described.select, onchange: (event) => {
          set(event.target.value === "" ? undefined : JSON.parse(event.target.value));
        } }, ...fallback, ...choices.map((each) => make(
          "option", { value: JSON.stringify(each), selected: now === each }, String(each))));
      } else if (info.type === "integer" || info.type === "number") {
        input = make("input", { ...common, class: described.input, type: "number", value: shown(now), required: info.required,
          step: info.type === "integer" ? 1 : "any", min: info.minimum, max: info.maximum, placeholder: shown(info.default),
          onchange: (event) => set(event.target.value === "" ? undefined : Number(event.target.value)) });
      } else {
        const list = info.type === "list";
        input = make("input", { ...common, class: described.input, type: "text", value: shown(now), required: info.required,
          placeholder: shown(info.default), onchange: (event) => {
            const text = event.target.value.trim();
            set(text === "" ? undefined : list ? text.split(/[\s,]+/).filter(Boolean) : text);
          } });
      }
      const unit = info.unit ? ` (${info.unit})` : "";
      const hint = [info.doc, bounds(info)].filter(Boolean).join("; ");
      return make("div", {}, make("label", { for: id }, `${info.name}${unit}`), input, make("small", {}, hint));
    };

    // A component nothing is known of here: its parameters as they stand.
    const unknown = (params) => Object.keys(params).map((name) => field({
      name, type: typeof params[name] === "number" ? "number" : "string", required: false, default: null, minimum: null,
      maximum: null, exclusive_minimum: null, exclusive_maximum: null, choices: [], unit: "", doc: "",
    }, params));

    const component = (title, kind, part, remove) => {
      part.params ??= {};
      const info = byName.get(part.name);
      const names = described.components.filter((each) => each.kind === kind).map((each) => each.name);
      if (part.name && !names.includes(part.name)) names.push(part.name);
      const select = make("select", { class: described.select, "data-kind": kind, onchange: (event) => {
        part.name = event.target.value;
        part.params = {};
        write();
        draw();
      } }, ...names.map((name) => make("option", { value: name, selected: name === part.name }, name)));
      const head = make("div", { class: "head" }, select);
      if (remove) head.append(make("button", { type: "button", onclick: remove }, "Remove"));
      return make("fieldset", {}, make("legend", {}, title), head,
        make("small", {}, info ? info.doc : "A component of your own: its parameters as they stand."),
        make("div", { class: "grid" }, ...(info ? info.params.map((each) => field(each, part.params)) : unknown(part.params))));
    };

    const draw = () => {
      const risks = config.risk_managements ??= [];
      config.strategy ??= { name: "", params: {} };
      config.sizer ??= { name: "", params: {} };
      config.policy ??= {};
      const first = (kind) => described.components.find((each) => each.kind === kind).name;
      const codes = { name: "codes", type: "list", required: true, default: null, minimum: null, maximum: null,
        exclusive_minimum: null, exclusive_maximum: null, choices: [], unit: "", doc: "What it trades, with commas: 600519.SH, 000001.SZ" };
      form.replaceChildren(
        make("fieldset", {}, make("legend", {}, "Codes"), field(codes, config)),
        component("Strategy", "strategy", config.strategy),
        ...risks.map((risk, at) => component(`Risk rule ${at + 1}`, "risk", risk, () => {
          risks.splice(at, 1);
          write();
          draw();
        })),
        make("div", {}, make("button", { type: "button", "data-add": "risk", onclick: () => {
          risks.push({ name: first("risk"), params: {} });
          write();
          draw();
        } }, "Add a risk rule")),
        component("Sizer", "sizer", config.sizer),
        make("fieldset", {}, make("legend", {}, "Policy"),
          make("div", { class: "grid" }, ...described.policy.map((each) => field(each, config.policy)))),
      );
    };

    const read = () => {
      try {
        const found = JSON.parse(area.value);
        if (found === null || typeof found !== "object" || Array.isArray(found)) throw new Error("not an object");
        config = found;
        draw();
      } catch (error) {
        form.replaceChildren(make("p", { class: "bad" }, `The document below is no valid JSON: ${error.message}`));
        raw.open = true;
      }
    };

    area.addEventListener("change", read);
    read();
  };

  document.addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("textarea[data-config-form]").forEach(start);
  });
})();
