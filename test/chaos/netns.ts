import { userInfo } from 'node:os'
import { killTree, processFacts } from '../support/proc.ts'
import { mustRun, run } from '../support/process.ts'
import type { Scope } from '../support/scope.ts'
import { findProgram } from '../support/system.ts'

/** `tw<pid>n<number>`: the pid tells later runs whose namespace it is, and whether that run is over. */
const NAME = /^tw(\d+)n(\d+)$/

let made = 0

function ip(...args: string[]): Promise<string> {
  return mustRun(findProgram('ip') ?? 'ip', args)
}

/** Why namespaces cannot be made here, or undefined when they can. */
export async function whyNoNamespaces(): Promise<string | undefined> {
  if (process.platform !== 'linux') return 'network namespaces are a thing of Linux'
  if (findProgram('ip') === undefined) return 'not installed: ip (iproute2)'
  if (userInfo().uid !== 0) return 'network namespaces need root'
  const name = `tw${process.pid}n${made++}`
  const added = await run('ip', ['netns', 'add', name])
  if (added.code !== 0) return `network namespaces are not allowed here: ${added.stderr.trim()}`
  const veth = await run('ip', [
    'link',
    'add',
    `${name}h`,
    'type',
    'veth',
    'peer',
    'name',
    'tw0',
    'netns',
    name,
  ])
  await run('ip', ['netns', 'del', name])
  return veth.code === 0 ? undefined : `veth links are not allowed here: ${veth.stderr.trim()}`
}

/** A network of its own, joined to this one by a cable (veth), whose address on the far end can change. */
export class NetworkNamespace {
  readonly name: string
  /** This side of the cable: what the inside reaches us by. */
  readonly hostAddress: string
  readonly #subnet: string
  #lastByte = 2

  /** Makes one that goes with `scope`, and removes what crashed runs have left. */
  static async create(scope: Scope): Promise<NetworkNamespace> {
    await removeStale()
    const namespace = new NetworkNamespace(made++, await freeSubnet())
    scope.after(() => removeNamespace(namespace.name))
    await namespace.#setUp()
    return namespace
  }

  private constructor(number: number, subnet: string) {
    this.name = `tw${process.pid}n${number}`
    this.#subnet = subnet
    this.hostAddress = `${this.#subnet}.1`
  }

  /** The inside's present address. */
  get address(): string {
    return `${this.#subnet}.${this.#lastByte}`
  }

  /** A command line that runs inside. */
  wrap(command: string, args: readonly string[]): [string, string[]] {
    return [findProgram('ip') ?? 'ip', ['netns', 'exec', this.name, command, ...args]]
  }

  /** Another address, as when a laptop changes its network: connections of the old one are dead, and nobody says so. */
  async changeAddress(): Promise<string> {
    const old = this.address
    this.#lastByte = this.#lastByte >= 250 ? 2 : this.#lastByte + 1
    await this.#inside('addr', 'del', `${old}/24`, 'dev', 'tw0')
    await this.#inside('addr', 'add', `${this.address}/24`, 'dev', 'tw0')
    await this.#inside('route', 'replace', 'default', 'via', this.hostAddress)
    return this.address
  }

  /** Unplugs the cable, or plugs it in again; a plug-in needs the route again. */
  async setCable(plugged: boolean): Promise<void> {
    await this.#inside('link', 'set', 'tw0', plugged ? 'up' : 'down')
    if (plugged) await this.#inside('route', 'replace', 'default', 'via', this.hostAddress)
  }

  /** A cable to another namespace: this end and that one, each with the address given, as `192.0.2.1/30`. */
  async joinTo(other: NetworkNamespace, near: string, far: string): Promise<void> {
    const [here, there] = [`tw${made++}`, `tw${made++}`]
    await this.#inside('link', 'add', here, 'type', 'veth', 'peer', 'name', there, 'netns', other.name)
    await this.#inside('addr', 'add', near, 'dev', here)
    await this.#inside('link', 'set', here, 'up')
    await other.#inside('addr', 'add', far, 'dev', there)
    await other.#inside('link', 'set', there, 'up')
  }

  /** One more address of its own, on no cable. */
  async addAddress(address: string): Promise<void> {
    await this.#inside('addr', 'add', address, 'dev', 'lo')
  }

  async addRoute(to: string, via: string): Promise<void> {
    await this.#inside('route', 'replace', to, 'via', via)
  }

  async #setUp(): Promise<void> {
    const outside = `${this.name}h`
    await ip('netns', 'add', this.name)
    await ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', 'tw0', 'netns', this.name)
    await ip('addr', 'add', `${this.hostAddress}/24`, 'dev', outside)
    await ip('link', 'set', outside, 'up')
    await this.#inside('link', 'set', 'lo', 'up')
    await this.#inside('link', 'set', 'tw0', 'up')
    await this.#inside('addr', 'add', `${this.address}/24`, 'dev', 'tw0')
    await this.#inside('route', 'add', 'default', 'via', this.hostAddress)
  }

  #inside(...args: string[]): Promise<string> {
    return ip('-n', this.name, ...args)
  }
}

/**
 * 198.18.0.0/15 is set aside for tests of networks (RFC 2544), so it is nobody's real address: the first of its 512 /24
 * from our pid on that no other test on this machine has. Of two cables with one address only the first is reached.
 */
async function freeSubnet(): Promise<string> {
  const addresses = await ip('-o', '-4', 'addr', 'show')
  for (let number = process.pid; number < process.pid + 512; number++) {
    const subnet = `198.${18 + (number & 1)}.${(number >> 1) & 0xff}`
    if (!addresses.includes(` ${subnet}.1/`)) return subnet
  }
  throw new Error('198.18.0.0/15 is full')
}

/** A namespace lives on while a process is inside, and its cable with it: so those go first. */
async function removeNamespace(name: string): Promise<void> {
  const inside = (await run('ip', ['netns', 'pids', name])).stdout
  for (const pid of inside.split('\n').filter(Boolean)) killTree(Number(pid))
  await run('ip', ['netns', 'del', name])
  await run('ip', ['link', 'del', `${name}h`])
}

async function removeStale(): Promise<void> {
  const { stdout } = await run('ip', ['netns', 'list'])
  for (const line of stdout.split('\n')) {
    const name = line.split(' ')[0] ?? ''
    const pid = Number(NAME.exec(name)?.[1])
    if (pid > 0 && processFacts(pid) === undefined) await removeNamespace(name)
  }
}
