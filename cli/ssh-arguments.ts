import { UsageError } from './failure.ts'

/** The options of ssh(1) that take an argument; needed to tell the machine from an option's value. */
const WITH_ARGUMENT = 'BbcDEeFIiJLlmOopQRSWw'
/** Ours, which must stand before ssh's; ssh itself has no long options. */
const OURS_WITH_ARGUMENT = ['--url', '--token', '--profile'] as const
const OURS_ALONE = new Map([
  ['--json', 'json'],
  ['--verbose', 'verbose'],
  ['--help', 'help'],
  ['--show-config', 'showConfig'],
] as const)

export interface SshArguments {
  url?: string[]
  token?: string
  profile?: string
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

function takeOurs(argv: string[]): { ours: Ours; passOn: string[] } {
  const ours: Ours = {}
  let index = 0
  for (; index < argv.length && argv[index]!.startsWith('--') && argv[index] !== '--'; index++) {
    const [name = '', inline] = argv[index]!.split(/=(.*)/s, 2)
    const valued = OURS_WITH_ARGUMENT.find((option) => option === name)
    const alone = (OURS_ALONE as ReadonlyMap<string, 'json' | 'verbose' | 'help' | 'showConfig'>).get(name)
    if (valued !== undefined) {
      const value = inline ?? argv[++index]
      if (value === undefined) throw new UsageError(`option '${name}' needs a value`)
      if (valued === '--url') ours.url = [...(ours.url ?? []), value]
      else ours[valued.slice(2) as 'token' | 'profile'] = value
    } else if (alone !== undefined && inline === undefined) {
      ours[alone] = true
    } else {
      throw new UsageError(`unknown option '${name}'`)
    }
  }
  return { ours, passOn: argv.slice(index) }
}

/** Whether a cluster such as `-vp` still waits for its argument; `-vp22` does not. */
function wantsArgument(cluster: string): boolean {
  for (let at = 1; at < cluster.length; at++) {
    if (WITH_ARGUMENT.includes(cluster[at]!)) return at === cluster.length - 1
  }
  return false
}

/** `[user@]MACHINE` or `ssh://[user@]MACHINE[:port]`, as ssh reads its destination. */
function machineOf(destination: string): string {
  const plain = destination.startsWith('ssh://') ? destination.slice(6).replace(/:\d+$/, '') : destination
  return plain.slice(plain.lastIndexOf('@') + 1)
}

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
