// `npm test [-- part of a path…]`: makes sure that the system programs and a fresh dist/ are there, then runs the tests.
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** Longest that one test may take, in ms; a hang becomes a failure that names the test. */
const TEST_TIMEOUT_MS = 180_000

/** Node 20's --test takes no globs, and tsx's hook no folders: every file is named. */
function filesUnder(folder, matches) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) return entry.name === 'node_modules' ? [] : filesUnder(path, matches)
    return matches(entry.name) ? [path] : []
  })
}

function changedAtMs(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

/** The command-line tests run dist/ as a user does, so it must not be older than the sources. */
function buildIsStale() {
  const sources = ['plugins', 'protocol', 'client', 'agent', 'config', 'cli']
    .map((folder) => join(root, folder))
    .filter((folder) => changedAtMs(folder) > 0)
    .flatMap((folder) => filesUnder(folder, (name) => name.endsWith('.ts') || name.endsWith('.json')))
  const builtAtMs = changedAtMs(join(root, 'dist', 'cli', 'main.js'))
  return [join(root, 'server.ts'), ...sources].some((path) => changedAtMs(path) > builtAtMs)
}

function run(script) {
  const result = spawnSync(process.execPath, [join(root, 'scripts', script)], { cwd: root, stdio: 'inherit' })
  if (result.status !== 0) process.exit(result.status ?? 1)
}

const wanted = process.argv.slice(2).filter((argument) => !argument.startsWith('-'))
const flags = process.argv.slice(2).filter((argument) => argument.startsWith('-'))
const files = filesUnder(join(root, 'test'), (name) => name.endsWith('.test.ts'))
  .map((path) => relative(root, path))
  .filter((path) => wanted.length === 0 || wanted.some((part) => path.includes(part)))
  .sort()
if (files.length === 0) {
  console.error(`no test file matches ${wanted.join(' ')}`)
  process.exit(2)
}

run('install-test-packages.mjs')
if (buildIsStale()) run('build.mjs')

// In its own process group, so that nothing a test forgot outlives the run.
const child = spawn(
  process.execPath,
  [
    ...['--import', 'tsx', '--test', '--test-reporter=spec'],
    ...['--test-concurrency=2', `--test-timeout=${TEST_TIMEOUT_MS}`],
    ...flags,
    ...files,
  ],
  { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], detached: true },
)

function signalGroup(signal) {
  try {
    process.kill(-child.pid, signal)
    return true
  } catch {
    return false
  }
}

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => signalGroup(signal))
child.on('exit', (code, signal) => {
  if (signalGroup(0)) {
    const left = spawnSync('pgrep', ['-a', '-g', String(child.pid)], { encoding: 'utf8' }).stdout ?? ''
    console.error(`a test left a process behind; it was ended\n${left}`)
    signalGroup('SIGKILL')
    process.exit(1)
  }
  process.exit(signal === null ? code : 1)
})
