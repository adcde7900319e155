// What the charts of the report use of Vega, and no more: it is fetched on the first touch of a chart.
// vega-geo, -force, -hierarchy, -voronoi, -wordcloud, -regression, -label and -crossfilter stay out.
import { transforms } from "vega-dataflow";
import * as encode from "vega-encode";
import { expressionInterpreter } from "vega-interpreter";
import { parse } from "vega-parser";
import "vega-scenegraph";
import * as data from "vega-transforms";
import { View } from "vega-view";
import * as layout from "vega-view-transforms";

Object.assign(transforms, data, encode, layout);

/** Draw a compiled Vega specification into an element; resolves when it is there. */
async function draw(element, specification, tooltip) {
  const view = new View(
    // An interpreter instead of generated code: a page may forbid eval (script-src 'self').
    parse(specification, null, { ast: true }),
    { expr: expressionInterpreter, renderer: "svg", container: element, hover: true, tooltip },
  );
  await view.runAsync();
  return view;
}

globalThis.todobatchVega = { draw };
