import { join, resolve } from 'node:path'
import { Agent } from '../../agent/index.ts'
import { defaultStateDir, loadClientSettings } from '../../config/index.ts'
import { collectInOneGo } from '../collector.ts'
import { type CommonOptions, command, parse, parseTarget } from '../command.ts'
import { enrolledMachine } from '../contexts/enrolled.ts'
import { agentAccessFrom, ownName } from '../credentials.ts'
import { type Definition, SETTINGS_OPTIONS } from '../definition.ts'
import { EXIT } from '../failure.ts'
import { checkAccount } from '../machine-name.ts'
import { visible } from '../output.ts'
import { tell } from '../prose.ts'
import type { GivenSetting } from '../reach.ts'
import { stopSignal } from '../stop.ts'
import { lookupsAtOnce } from '../threads.ts'

type Level = 'error' | 'warn' | 'info' | 'debug' | 'trace'

interface AgentFlags extends Omit<CommonOptions, 'url'> {
  url?: string[]
  machine?: string
  ssh: string
  allow?: string[]
  user?: string
  authorize?: boolean
  oneSource?: boolean
  cert?: string
  key?: string
  config?: string
  set?: string[]
}

export const definition: Definition = {
  name: 'agent',
  does: [
    'Puts this machine on line: connects to the proxy, and connects callers to the sshd of this machine.',
    'It dials nothing but --ssh and what --allow names. Runs until Ctrl-C, or until another agent takes the name.',
  ].join(' '),
  examples: [
    'tunnel agent --machine home',
    'TUNNEL_TOKEN_FILE=~/agent.token tunnel agent --machine home --authorize --url wss://tunnel.example.com',
    'tunnel agent --machine office --ssh 192.168.1.7:22 --allow 192.168.1.7:5900',
  ],
  options: [
    {
      flags: '--machine <name>',
      does: 'the name under which it is reached (default: the one it was enrolled with)',
    },
    { flags: '--ssh <host:port>', does: 'where its SSH server listens', default: '127.0.0.1:22' },
    {
      flags: '--allow <host:port>',
      does: 'another address that may be dialled; may be given again',
      repeats: true,
    },
    {
      flags: '--user <name>',
      does: 'the account that the proxy logs in to for requests and commands (default: you)',
    },
    {
      flags: '--authorize',
      does: "let the proxy's key for you in: one restricted line in ~/.ssh/authorized_keys",
    },
    {
      flags: '--one-source',
      does: 'dial the SSH server from 127.0.0.1 for everybody, not from an address for each user',
    },
    {
      flags: '--cert <file>',
      does: 'the certificate for a proxy that asks agents for one, in PEM; with --key',
    },
    { flags: '--key <file>', does: 'its private key' },
    ...SETTINGS_OPTIONS,
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<AgentFlags>()
  const machine = flags.machine ?? enrolledMachine()
  const access = agentAccessFrom(flags, machine)
  const sources = {
    profile: access.profile,
    file: flags.config,
    flags: [...access.given, ...certificateOf(flags), ...(flags.set ?? [])],
  }
  const { settings } = await loadClientSettings(sources, 'agent')
  collectInOneGo()
  const log = flags.json === true ? logJson : logText(flags.verbose === true)
  const agent = new Agent({
    urls: access.urls,
    machine,
    token: access.token,
    ssh: parseTarget(flags.ssh),
    allow: (flags.allow ?? []).map(parseTarget),
    sshUser: flags.user === undefined ? ownName() : checkAccount(flags.user),
    authorize: flags.authorize === true,
    oneSource: flags.oneSource === true,
    lookupsAtOnce: lookupsAtOnce(),
    epochFile: join(defaultStateDir(), `agent-${machine}.epoch`),
    settings,
    log,
  })
  const stopped = stopSignal({ unattended: true })
  try {
    const begun = await Promise.race([agent.start(), stopped])
    if (begun !== undefined) return EXIT.ok
    const where = agent.urlsOnline.join(', ')
    const ready = `${machine} is on line at ${where}; its SSH server is ${flags.ssh}`
    log('info', flags.json === true ? ready : `${ready}; Ctrl-C stops it`)
    const ended = await Promise.race([agent.done, stopped])
    if (ended instanceof Error) throw ended
    if (ended !== undefined) log('info', `${ended}: stopping`)
    return EXIT.ok
  } finally {
    await agent.close()
  }
}

/** As settings, which are checked together. */
function certificateOf({ cert, key }: AgentFlags): GivenSetting[] {
  const given: GivenSetting[] = []
  if (cert !== undefined) given.push({ name: '--cert', path: 'tls.cert', value: resolve(cert) })
  if (key !== undefined) given.push({ name: '--key', path: 'tls.key', value: resolve(key) })
  return given
}

function logJson(level: Level, message: string, context: Record<string, unknown> = {}): void {
  const line = { timestamp: new Date().toISOString(), level: level.toUpperCase(), message, context }
  process.stdout.write(`${JSON.stringify(line)}\n`)
}

function logText(isVerbose: boolean) {
  return (level: Level, message: string, context: Record<string, unknown> = {}): void => {
    if (!isVerbose && (level === 'debug' || level === 'trace')) return
    const details = isVerbose && Object.keys(context).length > 0 ? ` ${JSON.stringify(context)}` : ''
    tell(`${level === 'info' ? '' : `${level}: `}${visible(message)}${details}\n`)
  }
}
