// Runs a MicroPython script with the controller's core on board.
//
//     node run.mjs PACKAGE_DIR REPOSITORY [SCRIPT]        without SCRIPT: the script comes from standard input
//
// The package's own command line answers 0 even after an exception; this one prints the traceback and answers 1.
import { readFileSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [packageDir, repository, script] = process.argv.slice(2);
if (!packageDir || !repository) {
    console.error("usage: node run.mjs PACKAGE_DIR REPOSITORY [SCRIPT]");
    process.exit(2);
}

const { loadMicroPython } = await import(pathToFileURL(join(packageDir, "micropython.mjs")).href);
const micropython = await loadMicroPython({
    heapsize: 1024 * 1024,
    linebuffer: false, // or an unfinished last line would be lost
    stdout: (bytes) => writeSync(1, bytes),
    stderr: (bytes) => writeSync(2, bytes),
});

function copy(folder, names) {
    micropython.FS.mkdir(`/${folder}`);
    for (const name of names) {
        micropython.FS.writeFile(`/${folder}/${name}`, readFileSync(join(repository, folder, name), "utf8"));
    }
}

const core = readdirSync(join(repository, "edge", "core")).filter((name) => name.endsWith(".py"));
copy("edge", ["__init__.py"]);
copy("edge/core", core);

try {
    micropython.runPython(readFileSync(script ?? 0, "utf8"));
} catch (error) {
    // A Python exception carries its traceback as the message; anything else is ours and shows where.
    console.error(error.name === "PythonError" ? error.message : error.stack);
    process.exitCode = 1;
}
