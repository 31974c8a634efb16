// `npm run firsthour`: README, docs/DEPLOYMENT.md and docs/RECIPES.md done as printed, and the programs that go through.
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { mustRun } from '../support/process.ts'
import { Cleanup, type Scope } from '../support/scope.ts'
import { requireSystem } from '../support/system.ts'
import { tempFolder } from '../support/tree.ts'
import { countsCallersApart, FRONTS, type Front } from './fronts.ts'
import { whyNoHosts } from './host.ts'
import { runProgram, STOCK_PROGRAMS, whyNotProgram } from './programs.ts'
import { walkDaily, walkThreeCommands } from './readme.ts'
import { printedRecipes, startServices, walkRecipe, whyNotRecipe } from './recipes.ts'
import { type Scene, setScene } from './scene.ts'
import { walkSeveralHosts, walkWithoutSystemd } from './several-hosts.ts'

/** The last one stays for what follows. */
const WAYS = ['none', ...FRONTS] as const
const ROOT = join(import.meta.dirname, '..', '..')
const HELP = `Usage: npm run firsthour -- [options]

Does what README.md, docs/DEPLOYMENT.md and docs/RECIPES.md print, on clean accounts of hosts apart from each other
(network and mount namespaces; needs root), with the packed file installed as README says. Then stock programs, one by one.

Options:
  --fronts <names>   of ${WAYS.join(',')}, before the proxy (default: all; the last one stays for what follows)
  --parts <names>    of recipes,programs, after README itself (default: both)
  --only <text>      recipes and programs whose name has this in it
  --built            dist/ of this folder, and not the packed file
  --verbose          show each line before it is typed
`

const { values } = parseArgs({
  options: {
    fronts: { type: 'string', default: WAYS.join(',') },
    parts: { type: 'string', default: 'recipes,programs' },
    only: { type: 'string', default: '' },
    built: { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
    help: { type: 'boolean', short: 'h', default: false },
  },
})
const typing = (host: string, line: string): void => {
  if (values.verbose) console.error(`  ${host}$ ${line}`)
}
const interrupted = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => interrupted.abort())

let failed = 0

/** One row of the output; a failure is told and the rest goes on. */
async function row(name: string, skipped: string | undefined, work: () => Promise<void>): Promise<void> {
  if (interrupted.signal.aborted) return
  const beganMs = performance.now()
  const show = (result: string) => {
    const seconds = ((performance.now() - beganMs) / 1_000).toFixed(1)
    console.log(`${name.padEnd(60)} ${seconds.padStart(6)} s  ${result}`)
  }
  if (skipped !== undefined) return show(`skipped: ${skipped}`)
  try {
    await work()
    show('ok')
  } catch (error) {
    failed++
    show(`FAILED\n${(error as Error).message}`)
  }
}

/** As README says, but into a folder of its own: this computer keeps its commands. */
async function install(scope: Scope): Promise<string> {
  const folder = await tempFolder(scope, 'firsthour-package')
  await mustRun('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: ROOT })
  await mustRun('sh', ['-c', 'npm install --silent -g --prefix "$0" "$0"/*.tgz', folder], { cwd: folder })
  return join(folder, 'lib', 'node_modules', 'ssh-websocket-tunnel')
}

async function newScene(scope: Scope, packageFolder: string): Promise<Scene> {
  const scene = await setScene(scope, packageFolder)
  await scene.startSshd('machine')
  return scene
}

async function main(scope: Scope): Promise<void> {
  const reason = await whyNoHosts()
  if (reason !== undefined) {
    console.log(`skipped: ${reason}`)
    return
  }
  const packageFolder = values.built ? ROOT : await install(scope)
  const fronts = values.fronts.split(',').map((name) => {
    const front = WAYS.find((each) => each === name)
    if (front === undefined) throw new Error(`there is no "${name}"; there are ${WAYS.join(', ')}`)
    return front
  })
  let scene: Scene | undefined
  let token = ''
  const withFront = async (front: Front | 'none'): Promise<void> => {
    // From nothing, each time.
    const fresh = await newScene(scope, packageFolder)
    const walked = await walkSeveralHosts(fresh, front, { typing })
    await countsCallersApart(fresh)
    scene = fresh
    token = walked.token
  }
  for (const front of fronts)
    await row(
      `README on several hosts, ${front === 'none' ? 'with TLS of its own' : `behind ${front}`}`,
      front === 'none' ? undefined : requireSystem(front),
      () => withFront(front),
    )
  await row('docs/DEPLOYMENT.md without systemd', undefined, async () =>
    walkWithoutSystemd(await setScene(scope, packageFolder), { typing }),
  )
  await row("README's three commands", undefined, async () =>
    walkThreeCommands(await newScene(scope, packageFolder), { typing }),
  )
  if (scene === undefined || interrupted.signal.aborted) return
  const here: Scene = scene
  await startServices(here)
  await row("README's commands of every day", undefined, () => walkDaily(here, token, { typing }))
  const parts = values.parts.split(',')
  const chosen = (part: string, name: string) => parts.includes(part) && name.includes(values.only)
  for (const name of printedRecipes().filter((each) => chosen('recipes', each)))
    await row(`recipe: ${name}`, whyNotRecipe(name), () => walkRecipe(here, name, token, { typing }))
  for (const program of STOCK_PROGRAMS.filter(({ name }) => chosen('programs', name)))
    await row(program.name, whyNotProgram(program), () => runProgram(here, program))
}

async function runAll(): Promise<number> {
  const cleanup = new Cleanup()
  try {
    await main(cleanup)
    return failed === 0 && !interrupted.signal.aborted ? 0 : 1
  } catch (error) {
    console.error(interrupted.signal.aborted ? 'interrupted' : (error as Error).message)
    return 1
  } finally {
    await cleanup.close()
  }
}

if (values.help) process.stdout.write(HELP)
else process.exitCode = await runAll()
