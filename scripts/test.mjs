// `npm test [-- part of a path…]`: makes sure that the system programs and a fresh dist/ are there, then runs the tests.
// With --coverage it also says which lines they ran, and fails when those are fewer than COVERAGE_FLOOR; with --costs, what
// each process of tests costs.
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { compileTests, grouped } from './compile-tests.mjs'
import { Coverage, printCoverage } from './coverage.mjs'
import { printCosts } from './test-costs.mjs'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
/** Longest that one file of tests may take, in ms; a hang becomes a failure that names the test. */
const TEST_TIMEOUT_MS = 480_000
/** V8 counts at this price at most. */
const COVERAGE_SLOWDOWN = 1.5
/** A little under what docs/TESTING.md records, in percent of the lines. It holds for whole runs. */
const COVERAGE_FLOOR = 94
/** Folders of quick tests that need a process of their own for nothing; none so large that it takes a busy computer eight minutes. */
const GROUPS = [
  /\btest\/(protocol|dial)\//,
  /\btest\/client\/(?!web\/)/,
  /\btest\/(config|custom|testing|agent|examples)\//,
  /\btest\/plugins\/(admin|api|audit|auth|breaker)\b/,
  /\btest\/plugins\/(dependencies|errors|health|logging|metrics|policy|ratelimit|state|tracing)\b/,
  /\btest\/plugins\/cluster\b/,
  /\btest\/plugins\/(enrolment|machines|pool|sockets|ssh)\b/,
  /\btest\/plugins\/gateway\//,
  /\btest\/plugins\/forward\/http\//,
  /\btest\/plugins\/forward\/(?!life|http\/)/,
  /\btest\/plugins\/(links\/(access|compression|frames|http-streaming)|upgrade)\b/,
  /\btest\/e2e\/(inspected|network|parallel|resume|revoked|shutdown)\b/,
  /\btest\/chaos\/(fault-relay|netns|programs)\b/,
  /\btest\/isolation\//,
  /\btest\/(deploy\/|(docs|imports|repository)\b)/,
  /\btest\/cli\/(copy\/progress|detour-file|documentation|failure|forwarding\/(socks-protocol|specification)|pointers|shell\/|ssh-arguments|table|terminal-notices|wait-out)\b/,
  /\btest\/cli\/(audit-verify|contexts|credentials|diagnose|enroll|install|request|stdio)\b/,
  /\btest\/cli\/(copy\/copy|cp)\b/,
  /\btest\/cli\/(plugins|shell|ssh-config|terminal|watch)\b/,
  /\btest\/cli\/(bad-input|ending|reference|server|turn|usage)\b(?!-limits)/,
  /\btest\/cli\/(forwarding\/(forward|listener|programs|socks)|ssh-end)\b/,
]
/** How long a process may take to follow its parent, in ms. */
const LEAVE_MS = 3_000

/** Node 20's --test takes no globs: every file is named. */
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
  const sources = ['custom', 'testing', 'plugins', 'protocol', 'dial', 'client', 'agent', 'config', 'cli']
    .map((folder) => join(root, folder))
    .filter((folder) => changedAtMs(folder) > 0)
    .flatMap((folder) => filesUnder(folder, (name) => name.endsWith('.ts') || name.endsWith('.json')))
  const builtAtMs = changedAtMs(join(root, 'dist', 'cli', 'main.cjs'))
  const builders = [
    'index.ts',
    'server.ts',
    'package-lock.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'tsconfig.browser.json',
    'scripts/build.mjs',
    'scripts/bundle.mjs',
    'scripts/bundle-browser.mjs',
    'scripts/bundle-quick.mjs',
  ].map((file) => join(root, file))
  return [...builders, ...sources].some((path) => changedAtMs(path) > builtAtMs)
}

function run(script) {
  const result = spawnSync(process.execPath, [join(root, 'scripts', script)], { cwd: root, stdio: 'inherit' })
  if (result.status !== 0) process.exit(result.status ?? 1)
}

/** Flags of Node's whose value may be the next word. */
const TAKES_VALUE = /^--test-(name-pattern|skip-pattern|timeout|concurrency|shard|reporter(-destination)?)$/

const wanted = []
const flags = []
let withCoverage = false
let withCosts = false
for (const argument of process.argv.slice(2)) {
  if (argument === '--coverage') withCoverage = true
  else if (argument === '--costs') withCosts = true
  else if (argument.startsWith('-') || TAKES_VALUE.test(flags.at(-1))) flags.push(argument)
  else wanted.push(argument)
}
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
const { folder, compiled, command, remove } = await compileTests(files)
process.on('exit', remove)
const coverage = withCoverage ? new Coverage(root, join(folder, 'coverage')) : undefined
const costs = join(root, folder, 'costs')

// In its own process group, so that nothing a test forgot outlives the run.
const child = spawn(
  process.execPath,
  [
    ...(withCosts ? ['--import=./scripts/test-costs.mjs'] : []),
    ...['--test', '--test-reporter=./scripts/test-reporter.mjs', '--test-reporter-destination=stdout'],
    ...['--test-concurrency=6', `--test-timeout=${TEST_TIMEOUT_MS * (withCoverage ? COVERAGE_SLOWDOWN : 1)}`],
    ...flags,
    ...(wanted.length === 0 ? grouped(folder, compiled, GROUPS) : compiled),
  ],
  {
    cwd: root,
    stdio: ['ignore', 'inherit', 'inherit'],
    detached: true,
    env: {
      ...process.env,
      // Every process of Node's would read all of the computer's authorities first; no test needs them.
      NODE_EXTRA_CA_CERTS: undefined,
      TUNNEL_TEST_COMPILED: join(root, folder),
      TUNNEL_TEST_CLI: process.env.TUNNEL_TEST_CLI ?? join(root, command),
      ...(coverage && { NODE_V8_COVERAGE: coverage.folder }),
      ...(withCosts && { TUNNEL_TEST_COSTS: costs }),
    },
  },
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

/** The processes of the tests' group that still run: pid and command line. */
function leftBehind() {
  if (process.platform !== 'linux') return signalGroup(0) ? [`process group ${child.pid}`] : []
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .flatMap((pid) => {
      try {
        const [state, , group] = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ').at(-1).split(' ')
        // One that has ended and waits for init to take notice is over.
        if (state === 'Z' || Number(group) !== child.pid) return []
        return [`${pid} ${readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')}`]
      } catch {
        return []
      }
    })
}

function finish(code) {
  if (withCosts) printCosts(costs, folder)
  const isEnough =
    coverage === undefined || printCoverage(coverage.finish(), wanted.length ? 0 : COVERAGE_FLOOR)
  process.exit(code === 0 && !isEnough ? 1 : code)
}

child.on('exit', (code, signal) => {
  // What ends with its parent may take a moment for it.
  const deadlineMs = performance.now() + LEAVE_MS
  const check = () => {
    const left = leftBehind()
    if (left.length === 0) return finish(signal === null ? code : 1)
    if (performance.now() < deadlineMs) return setTimeout(check, 20)
    console.error(`a test left a process behind; it was ended\n${left.join('\n')}`)
    signalGroup('SIGKILL')
    process.exit(1)
  }
  check()
})
