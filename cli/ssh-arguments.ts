import { machineAsHost } from '../protocol/codec/machine-host.ts'
import { type Definition, namesOf, optionsOf, type PassedOn } from './definition.ts'
import { UsageError } from './failure.ts'
import { SUFFIX } from './host-alias.ts'

/** The options of ssh(1); those that take a value are needed to tell the machine from it. */
const SSH_OPTIONS = {
  valued: 'BbcDEeFIiJLlmOopPQRSWw',
  files: 'EFIiS',
  plain: '46AaCfGgKkMNnqsTtVvXxYy',
} as const satisfies PassedOn

export const definition: Definition = {
  name: 'ssh',
  usage: '[options] [ssh options] [user@]MACHINE [command…]',
  does: [
    'The stock ssh, with the tunnel as its ProxyCommand: the proxy relays bytes that it cannot read. All options after',
    'ours are those of ssh(1) and are passed on untouched; so is the exit status (255: the connection itself failed).',
  ].join(' '),
  examples: [
    'tunnel ssh home',
    'tunnel ssh -L 8080:127.0.0.1:80 me@home',
    "tunnel ssh home 'tar cz documents' > documents.tar.gz",
  ],
  notes: [
    `\
A machine that another user shares is OWNER/NAME. If OWNER has an @, which ends
an account's name for ssh, and for scp, which takes a name with a slash for a
local file, write NAME+OWNER.tunnel, with + for the @.`,
  ],
  arguments: [
    { name: '<machine>', does: 'its name, or user@name', values: 'machine' },
    { name: '[command...]', does: 'what to run there, in place of a shell' },
  ],
  options: [
    {
      flags: '--show-config',
      does: 'print the section for ~/.ssh/config by which plain `ssh` does the same: `tunnel ssh-config`',
    },
  ],
  passesThrough: true,
  passedOn: SSH_OPTIONS,
}

export interface SshArguments {
  url?: string[]
  token?: string
  context?: string
  profile?: string
  ca?: string
  transport?: string
  json?: boolean
  verbose?: boolean
  help?: boolean
  showConfig?: boolean
  /** Undefined with -V or -Q, which name no destination. */
  machine?: string
  /** All that is ssh's, untouched and in order. */
  passOn: string[]
}

type Ours = Omit<SshArguments, 'passOn' | 'machine'>

/** Our options, which must stand before ssh's; ssh itself has no long ones. */
function takeOurs(argv: string[]): { ours: Ours; passOn: string[] } {
  const options = new Map(optionsOf(definition).map((option) => [`--${namesOf(option).long}`, option]))
  options.set('--help', { flags: '--help', does: '' })
  const ours: Record<string, unknown> = {}
  let index = 0
  for (; index < argv.length && argv[index]!.startsWith('--') && argv[index] !== '--'; index++) {
    const [name = '', inline] = argv[index]!.split(/=(.*)/s, 2)
    const option = options.get(name)
    if (option === undefined) throw new UsageError(`unknown option '${name}'`)
    const { long, value: isValued } = namesOf(option)
    const key = long.replaceAll(/-(\w)/g, (_, letter: string) => letter.toUpperCase())
    if (isValued === undefined) {
      if (inline !== undefined) throw new UsageError(`option '${name}' takes no value`)
      ours[key] = true
      continue
    }
    const value = inline ?? argv[++index]
    if (value === undefined) throw new UsageError(`option '${name}' needs a value`)
    ours[key] = option.repeats === true ? [...((ours[key] as string[]) ?? []), value] : value
  }
  return { ours, passOn: argv.slice(index) }
}

/** Whether a cluster such as `-vp` still waits for its argument; `-vp22` does not. */
function wantsArgument(cluster: string): boolean {
  for (let at = 1; at < cluster.length; at++) {
    if (SSH_OPTIONS.valued.includes(cluster[at]!)) return at === cluster.length - 1
  }
  return false
}

/** `[user@]MACHINE` or `ssh://[user@]MACHINE[:port]`, as ssh reads its destination. */
function machineOf(destination: string): string {
  const isUri = destination.startsWith('ssh://')
  const plain = isUri ? destination.slice(6).replace(/:\d+$/, '') : destination
  const machine = plain.slice(plain.lastIndexOf('@') + 1)
  if (!machine.includes('/')) return machine
  const shared = plain.slice(plain.indexOf('@') + 1)
  if (isUri || !SHARED.test(shared))
    throw new UsageError(`ssh takes no such host as ${shared}: write ${machineAsHost(shared)}${SUFFIX}`)
  return machine
}

/** `owner/name` as ssh can take it: an @ would end an account's name, and | has a meaning for shells. */
const SHARED = /^[^@|]+$/

/** Splits a command line of `tunnel ssh` and finds the machine in it as ssh(1) would. */
export function readSshArguments(argv: string[]): SshArguments {
  const { ours, passOn } = takeOurs(argv)
  let asksNothing = false
  for (let index = 0; index < passOn.length; index++) {
    const word = passOn[index]!
    if (word === '--') continue
    if (!word.startsWith('-') || word === '-') return { ...ours, machine: machineOf(word), passOn }
    if (/^-[a-zA-Z0-9]*[VQ]/.test(word)) asksNothing = true
    if (wantsArgument(word)) index++
  }
  if (asksNothing || ours.help === true || ours.showConfig === true) return { ...ours, passOn }
  throw new UsageError('name the machine: tunnel ssh [ssh options] [user@]MACHINE [command…]')
}
