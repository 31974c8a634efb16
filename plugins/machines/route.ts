import type { Duplex } from 'node:stream'
import type { Link } from '../../protocol/link/link.ts'

interface AnyRoute {
  /** Whose machine it is: policy decides by it, and nobody else's machine can have the same owner and name. */
  readonly owner: string
  readonly name: string
  /** The account that inspected mode logs in to. */
  readonly sshUser: string
  /**
   * The keys that are pinned now, as lines `ssh-ed25519 AAAA…`: a route may be kept in a queue while its owner trusts
   * other ones. Throws MACHINE_OFFLINE where no key is pinned because no agent is there to report one.
   */
  hostKeys(): Promise<readonly string[]>
  /** The machine's SSH server has shown a key that is not pinned. It is kept for the owner to trust or to ignore. */
  hostKeyShown(key: Buffer): void
  /**
   * Raw bytes to the machine's SSH server. Throws MACHINE_OFFLINE, TOO_MANY_STREAMS, or the answer of the agent or
   * the host.
   */
  dial(): Promise<Duplex>
  /**
   * What a name stands for on the machine: the addresses that may be dialled, in the order of preference. Of a configured
   * host the proxy's own resolver says so.
   * @throws {TunnelError} DNS_FAILED, POLICY_DENIED, TIMEOUT, ABORTED; MACHINE_OFFLINE; VERSION_UNSUPPORTED where an agent
   * of an earlier version cannot say
   */
  lookup(name: string, signal: AbortSignal): Promise<readonly string[]>
}

/** A machine whose agent has a link to this proxy, or had one. */
export interface AgentRoute extends AnyRoute {
  readonly source: 'agent'
  /** The agent's newest link. Waits a moment for an agent that may be dialling; throws MACHINE_OFFLINE. */
  link(): Promise<Link>
}

/** A host of the configuration, which the proxy reaches by TCP. */
export interface ConfiguredRoute extends AnyRoute {
  readonly source: 'configured'
}

/** The way to one machine. It is resolved once for each stream, by `machines.resolve`. */
export type Route = AgentRoute | ConfiguredRoute
