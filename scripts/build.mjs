// Compiles the sources into dist/. Run by `npm ci` through "prepare", so that `npx tunnel` works right after it.
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { bundle } from './bundle.mjs'
import { bundleForBrowsers } from './bundle-browser.mjs'
import { bundleQuick } from './bundle-quick.mjs'
import { demandNode, GUARD } from './oldest-node.mjs'

demandNode()
const root = dirname(dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)
// `npx tunnel` links this folder into npm's cache at its first use, for which npm runs "prepare" again: it would take away
// what the proxy in the next terminal is running from.
if (process.env.npm_command === 'exec' && existsSync(join(root, 'dist', 'cli', 'main.cjs'))) process.exit()

/** The compiler's command: ours, or where a production install left it out one that npm fetches for the moment. */
function compiler() {
  try {
    const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')
    // Its native part is an optional dependency, which may be left out as well.
    if (spawnSync(process.execPath, [tsc, '--version']).status === 0) return [process.execPath, tsc]
  } catch {
    // Not installed.
  }
  const { version } = lock.packages['node_modules/typescript']
  const npm = process.env.npm_execpath ? [process.execPath, process.env.npm_execpath] : ['npm']
  // Without the types of its libraries it has nothing to check against.
  // From elsewhere: here it would take the one that lacks its native part.
  return [
    ...npm,
    'exec',
    '--yes',
    '--prefix',
    tmpdir(),
    `--package=typescript@${version}`,
    '--',
    'tsc',
    '--noCheck',
    '--types',
    '',
  ]
}

const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'))
const [program, ...words] = compiler()
rmSync(join(root, 'dist'), { recursive: true, force: true })
compile('tsconfig.build.json')
// Of what is for browsers the types; its code is one bundle.
compile('tsconfig.browser.json', '--emitDeclarationOnly')

function compile(project, ...more) {
  const { status } = spawnSync(program, [...words, '-p', join(root, project), ...more], {
    cwd: words.includes('exec') ? tmpdir() : root,
    stdio: 'inherit',
    // Of npm ci: what it left out is wanted here.
    env: { ...process.env, npm_config_omit: '', npm_config_local_prefix: '' },
  })
  if (status !== 0) process.exit(status ?? 1)
}

cpSync(join(root, 'config', 'profiles'), join(root, 'dist', 'config', 'profiles'), { recursive: true })

// Every profile's client settings, so that `tunnel stdio` starts without TypeBox (client/profiles.ts reads them).
const { resolveSettings } = await import(pathToFileURL(join(root, 'dist', 'client', 'settings.js')).href)
const { ClientSettings } = await import(pathToFileURL(join(root, 'dist', 'client', 'options.js')).href)
const profiles = join(root, 'config', 'profiles')
const resolved = readdirSync(profiles).map((file) => {
  const name = file.replace(/\.json$/, '')
  return [name, resolveSettings(JSON.parse(readFileSync(join(profiles, file), 'utf8')), name)]
})
writeFileSync(
  join(root, 'dist', 'client', 'resolved-profiles.json'),
  JSON.stringify(Object.fromEntries(resolved)),
)

// Man pages and completions are made from the same definitions as --help.
const { referenceFiles } = await import(
  pathToFileURL(join(root, 'dist', 'cli', 'reference', 'files.js')).href
)
for (const [name, text] of await referenceFiles()) {
  const file = join(root, 'dist', name)
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(file, text)
}

const main = join(root, 'dist', 'cli', 'main.cjs')
if (!(await bundleCode())) writeFileSync(main, `#!/usr/bin/env node\n${GUARD}\nvoid import('./main.js')\n`)
chmodSync(main, 0o755)

/**
 * A start that loads hundreds of modules takes twice as long as the same code in a few files. Of the packages those are
 * inside that a command of a person needs at once; the others stay where npm updates them and where tools that trace
 * them find them.
 * @returns whether it was done
 */
async function bundleCode() {
  // A production install has no bundler: its commands start a little later.
  const { build } = await import('esbuild').catch(() => ({}))
  if (build === undefined) return false
  const dist = join(root, 'dist')
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const modules = Object.values(exports).map((path) => path.default ?? path)
  // The last one is a program of its own, which the demo starts (cli/demo/scene.ts).
  const entries = [...modules, './dist/cli/run.js', './dist/cli/demo/embedded-ssh.js']
  const bundling = bundle({
    ...{ build, outdir: dist, placesIn: dist, placesAs: '.js', isMovable: true },
    entryPoints: [...new Set(entries)].map((path) =>
      relative(dist, join(root, path)).replace(/\.js$/, '.ts'),
    ),
    isInside: (name) => /^(commander|typebox|ws)(\/|$)/.test(name),
  })
  const forBrowsers = bundleForBrowsers({ build, schema: ClientSettings, outdir: join(dist, 'browser') })
  let whole
  let quick
  let browser
  try {
    ;[whole, quick, browser] = await Promise.all([
      bundling,
      bundleQuick({ build, outdir: dist }),
      forBrowsers,
    ])
  } catch (error) {
    // Its native part is an optional dependency, which may be left out.
    console.warn(`dist/ is not bundled: ${String(error).split('\n', 1)[0]}`)
    return false
  }
  for (const name of readdirSync(dist, { recursive: true })) {
    if (/\.js(\.map)?$/.test(name)) rmSync(join(dist, name))
  }
  whole.write()
  quick.write()
  mkdirSync(join(dist, 'browser'), { recursive: true })
  for (const { path, contents } of browser.files) writeFileSync(path, contents)
  const { page, storage, whole: inOne } = browser.gzipped
  console.log(
    `dist/browser/tunnel-client.js: ${page} bytes gzipped, with the queue on disk ${page + storage}; tunnel-client-whole.js: ${inOne}`,
  )
  const packages = new Set([...whole.packages, ...quick.packages, ...browser.packages])
  writeFileSync(join(dist, 'THIRD-PARTY-LICENSES'), [...packages].map(licenseOf).join('\n'))
  return true
}

function licenseOf(folder) {
  const { name, version } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((entry) => /^licen[cs]e/i.test(entry))
  return `${name} ${version}\n\n${readFileSync(join(folder, file), 'utf8')}`
}
