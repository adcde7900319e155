// Bundles entry.js into the Python package, with the licences of what went into it.
import { build } from "esbuild";
import { readFileSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";
import { join } from "node:path";

const out = "../todobatch_reports/assets/site";
const { metafile } = await build({
  entryPoints: ["entry.js"],
  outfile: `${out}/vega.js`,
  bundle: true,
  minify: true,
  // A classic script: pages opened from a disk (file://) may not load modules.
  format: "iife",
  target: "es2020",
  legalComments: "none",
  metafile: true,
  banner: { js: "/* Parts of Vega and D3; licences: vega.LICENSES.txt */" },
});

const folders = new Set(
  Object.keys(metafile.inputs)
    .map((path) => path.match(/^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//)?.[1])
    .filter(Boolean),
);
const licences = [...folders].sort().map((folder) => {
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json")));
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry));
  const text = file ? readFileSync(join(folder, file), "utf8").trim() : `Licence: ${license}`;
  return { title: `${name} ${version} (${license})`, text };
});
// Packages of one project share one text: say it once.
const byText = Map.groupBy?.(licences, (item) => item.text) ?? grouped(licences);
const sections = [...byText].map(
  ([text, items]) => `${items.map((item) => item.title).join("\n")}\n\n${text}\n`,
);
writeFileSync(
  `${out}/vega.LICENSES.txt`,
  `vega.js holds parts of these packages.\n\n${sections.join(`\n${"-".repeat(80)}\n\n`)}`,
);

const size = statSync(`${out}/vega.js`).size;
const zipped = gzipSync(readFileSync(`${out}/vega.js`)).length;
console.log(`vega.js: ${size} bytes, ${zipped} gzipped, from ${folders.size} packages`);

function grouped(items) {
  const groups = new Map();
  for (const item of items) groups.set(item.text, [...(groups.get(item.text) ?? []), item]);
  return groups;
}
