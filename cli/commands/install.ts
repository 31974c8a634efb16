import { existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { readOwnSecret } from '../../client/tokens/file.ts'
import { configDir, homeFolder } from '../../config/folders.ts'
import { askToken } from '../../dial/token.ts'
import { type CommonOptions, command, parse, parseTarget } from '../command.ts'
import { clientFilePath, readClientFile, refused } from '../contexts/client-file.ts'
import { enrolledMachine } from '../contexts/enrolled.ts'
import { agentAccessFrom, ownName } from '../credentials.ts'
import type { Definition } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { below, carryOut, checkPlan, type PlannedFile } from '../install/plan.ts'
import { hiddenFromServices } from '../install/reachable.ts'
import { type Service, systemAgent, systemServer, userAgent, userServer } from '../install/services.ts'
import { checkAccount, checkMachine } from '../machine-name.ts'
import { columnsOf } from '../output.ts'
import { fold, tell } from '../prose.ts'
import { selfCommand } from '../self.ts'
import { warn } from '../warning.ts'

export const definition: Definition = {
  name: 'install',
  usage: '[options] server|agent',
  does: [
    'Writes a systemd unit that keeps a proxy or an agent running, under an account of its own that may write to',
    'its state folder alone, and writes what the unit needs to /etc/ssh-websocket-tunnel. With --user the unit is',
    'yours, and nobody needs to be root. It starts nothing: it says what it wrote, and what to type next.',
  ].join(' '),
  examples: [
    'sudo tunnel install server',
    'sudo tunnel install agent --machine home --url https://tunnel.example.com --token-file agent.token',
    'tunnel install agent --user',
    'tunnel install server --dry-run',
  ],
  arguments: [{ name: '<what>', does: 'server or agent', values: ['server', 'agent'] }],
  options: [
    { flags: '--user', does: 'a unit of your own, without root' },
    { flags: '--dry-run', does: 'print what would be written, without secrets' },
    { flags: '--root <folder>', does: 'write below this folder, as for an image', values: 'file' },
    { flags: '--config <file>', does: 'settings as a JSON file (server)', values: 'file' },
    { flags: '--machine <name>', does: 'its name (agent; default: the one that was enrolled with a code)' },
    { flags: '--token-file <file>', does: "where the agent's token is (agent)", values: 'file' },
    { flags: '--ssh <host:port>', does: 'where its SSH server listens (agent)' },
    { flags: '--allow <host:port>', does: 'another address that may be dialled (agent)', repeats: true },
    {
      flags: '--login <name>',
      does: 'the account that the proxy logs in to for requests and commands (agent; default: you)',
    },
    { flags: '--authorize', does: "let the proxy's key for you in (agent, with --user)" },
  ],
}

interface InstallFlags extends CommonOptions {
  user?: boolean
  dryRun?: boolean
  root?: string
  config?: string
  machine?: string
  tokenFile?: string
  ssh?: string
  allow?: string[]
  login?: string
  authorize?: boolean
}

const OF_AGENT = [
  'machine',
  'tokenFile',
  'ssh',
  'allow',
  'login',
  'authorize',
  'url',
  'token',
  'context',
] as const

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<InstallFlags>()
  const [what] = made.args
  if (what !== 'server' && what !== 'agent')
    throw new UsageError(`install server, or install agent, not "${what}"`)
  for (const option of what === 'server' ? OF_AGENT : (['config'] as const)) {
    if (flags[option] !== undefined) throw new UsageError(`install ${what} takes no --${dashed(option)}`)
  }
  if (flags.authorize === true && flags.user !== true)
    throw new UsageError('--authorize needs --user: a service of the system has no home folder')
  if (flags.token !== undefined) throw new UsageError('give the token as --token-file')
  checkPlace(flags)
  const service = what === 'server' ? serverOf(flags) : await agentOf(flags)
  const files = below(flags.root, service.files)
  if (flags.dryRun === true) return dryRun(files, flags)
  checkPlan(files)
  const done = await carryOut(files)
  const next = nextSteps(what, service, flags)
  if (flags.json === true) {
    const told = done.map(([path, outcome]) => ({ path, outcome }))
    process.stdout.write(`${JSON.stringify({ unit: service.unitName, files: told, next })}\n`)
    return EXIT.ok
  }
  const lines = done.map(([path, outcome]) => `${outcome.padEnd(OUTCOME_COLUMNS - 2)}  ${path}`)
  tell(`${lines.join('\n')}\n\nNext:\n`, process.stdout, OUTCOME_COLUMNS)
  process.stdout.write(next.map((step) => `${stepLine(step)}\n`).join(''))
  return EXIT.ok
}

const OUTCOME_COLUMNS = 11
const TYPED_COLUMNS = 62

/** What to type, and what for: behind it, or where that does not fit, in a line of its own that a shell passes over. */
function stepLine({ type, what: why }: Step): string {
  if (why === '') return `  ${type}`
  const line = `  ${type.padEnd(TYPED_COLUMNS)} ${why}`
  return line.length <= columnsOf() ? line : `${fold(`  # ${why}`, columnsOf())}\n  ${type}`
}

/** Whether a unit can be written and run here, said before anything is asked for. */
function checkPlace(flags: InstallFlags): void {
  const isHere = flags.dryRun !== true && flags.root === undefined
  if (isHere && !existsSync('/run/systemd/system'))
    throw refused(
      'this system is not run by systemd: `--dry-run` prints the unit, `--root DIR` writes it for another',
    )
  if (flags.user === true) return
  if (isHere && process.getuid?.() !== 0)
    throw refused('only root may write a unit of the system: use sudo, or --user for one of your own')
  for (const file of selfCommand().filter((word) => word.startsWith('/') && existsSync(word))) {
    const reason = hiddenFromServices(file)
    if (reason === undefined) continue
    const message = `${file} ${reason}: install Node and this package for all users (npm install -g)`
    if (isHere) throw refused(message)
    warn('NOT_FOR_SERVICES', message)
  }
}

function serverOf({ user, profile, config }: InstallFlags): Service {
  const choice = { profile, config: config === undefined ? undefined : resolve(config) }
  if (choice.config !== undefined && !existsSync(choice.config))
    throw new UsageError(`the file ${choice.config} does not exist`)
  return user === true ? userServer(choice, userUnits()) : systemServer(choice)
}

async function agentOf(flags: InstallFlags): Promise<Service> {
  const machine = flags.machine ?? enrolledMachine()
  checkMachine(machine)
  const tokenFile = flags.tokenFile === undefined ? undefined : resolve(flags.tokenFile)
  if (tokenFile !== undefined) readOwnSecret(tokenFile)
  const env = tokenFile === undefined ? process.env : { ...process.env, TUNNEL_TOKEN_FILE: tokenFile }
  const { urls, token, profile, context, given } = agentAccessFrom(flags, machine, env)
  const more = ['ssh', 'allow'].flatMap((option) => {
    const values = [flags[option as 'ssh' | 'allow'] ?? []].flat()
    return values.flatMap((value) => [`--${option}`, parseTarget(value)])
  })
  for (const { path, value } of given) more.push('--set', `${path}=${value}`)
  if (flags.authorize === true) more.push('--authorize')
  // Of a service of the system it would be the service's own account.
  if (flags.user !== true || flags.login !== undefined)
    more.push('--user', checkAccount(flags.login ?? (process.env.SUDO_USER || ownName())))
  const choice = { machine, urls, more, profile }
  if (flags.user === true) {
    // Whichever is chosen later.
    if (context !== undefined) more.push('--context', context)
    return userAgent(choice, tokenFile, userUnits())
  }
  // Signed by a proxy on this computer it would be over in minutes.
  const isKept = tokenFile ?? env.TUNNEL_TOKEN_FILE ?? env.TUNNEL_TOKEN ?? enrolledAt(machine)
  if (isKept === undefined && flags.context === undefined)
    throw refused(
      `there is no token for ${machine}: give --token-file, or enrol it with \`tunnel agent enroll CODE\``,
    )
  return systemAgent(choice, await askToken(token))
}

function enrolledAt(machine: string): string | undefined {
  return readClientFile(clientFilePath()).agents.get(machine)?.tokenFile
}

function userUnits(): string {
  const config = configDir()
  if (config === undefined || homeFolder() === undefined)
    throw refused('there is no home folder for a unit of yours: set HOME')
  return join(config, '..', 'systemd', 'user')
}

function dryRun(files: readonly PlannedFile[], { json }: InstallFlags): number {
  const shown = files.map(({ path, content, mode }) => {
    const text = mode === 0o600 ? '[a secret]\n' : content
    return { path, mode: mode.toString(8).padStart(4, '0'), content: text }
  })
  if (json === true) process.stdout.write(`${JSON.stringify({ files: shown })}\n`)
  else
    process.stdout.write(
      shown.map(({ path, mode, content }) => `### ${path} (${mode})\n${content}`).join('\n'),
    )
  return EXIT.ok
}

interface Step {
  type: string
  what: string
}

function nextSteps(what: 'server' | 'agent', { unitName }: Service, { user, root }: InstallFlags): Step[] {
  const isUser = user === true
  const systemctl = isUser ? 'systemctl --user' : 'systemctl'
  const steps: Step[] = [
    { type: `${systemctl} daemon-reload`, what: '' },
    { type: `${systemctl} enable --now ${unitName}`, what: 'starts it, now and from now on' },
    { type: `journalctl ${isUser ? '--user ' : ''}-u ${unitName} -f`, what: 'shows its log' },
  ]
  if (isUser) steps.push({ type: 'loginctl enable-linger', what: 'keeps it running when you log out' })
  if (what === 'server' && !isUser && root === undefined) {
    const files = 'TUNNEL_JWT_SECRET_FILE=/etc/ssh-websocket-tunnel/jwt'
    steps.push({ type: `${files} tunnel token --sub NAME`, what: 'signs a token' })
  }
  return steps
}

function dashed(option: string): string {
  return option.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)
}
