// Makes the component: `node build.mjs SOURCE WIT OUT` with the folder of this driver, that of `windlass:driver`, and a file.

import { cp, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { tmpdir } from 'node:os';
import { componentize } from '@bytecodealliance/componentize-js';

const [source, driver, out] = process.argv.slice(2);
const wit = await mkdtemp(join(tmpdir(), 'wit-'));
try {
  await cp(join(source, 'world.wit'), join(wit, 'world.wit'));
  await cp(driver, join(wit, 'deps/driver'), { recursive: true });
  const { component } = await componentize({
    sourcePath: join(source, 'driver.js'),
    witPath: wit,
    worldName: 'driver',
    // A driver is a pure function: nothing of WASI is left to import.
    disableFeatures: ['random', 'stdio', 'clocks', 'http', 'fetch-event'],
  });
  await writeFile(`${out}.tmp`, component);
  await rename(`${out}.tmp`, out);
} finally {
  await rm(wit, { recursive: true });
}
