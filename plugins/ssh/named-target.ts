import type { Duplex } from 'node:stream'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { openFirst } from './first-address.ts'
import type { KnownNames } from './known-names.ts'
import { type ChannelOptions, within } from './open-channel.ts'

/** Who decides where a target's name may lead. */
export interface NameCheck {
  /** @throws {TunnelError} POLICY_DENIED */
  check(addresses: readonly string[]): Promise<void>
  /** Whether sshd may resolve it by itself where the machine's agent cannot say what it stands for. */
  isTrusted(): Promise<boolean>
}

export interface TcpOptions extends ChannelOptions {
  /** @default every address but those of metadata services */
  names?: NameCheck
  /** Told which of the name's addresses has been connected to. */
  onAddress?: (address: string) => void
}

/** A target whose host is a name: `host:port`. */
interface NamedTarget {
  readonly host: string
  readonly authority: string
}

/**
 * Resolves the name of a target, has the addresses checked, and opens a channel to one of them: sshd would connect to
 * whatever the name stands for by then.
 * @param open has sshd connect to a host, within these limits
 */
export function openNamed(
  { host, authority }: NamedTarget,
  options: TcpOptions,
  known: KnownNames,
  open: (host: string, options: ChannelOptions) => Promise<Duplex>,
): Promise<Duplex> {
  const { timeoutMs, names, onAddress } = options
  return within(authority, options, async (signal) => {
    const addresses = await addressesOf(host, names, known, signal)
    if (addresses === undefined) return open(host, { timeoutMs, signal })
    await names?.check(addresses)
    const openOne = (address: string, its: AbortSignal) => open(address, { timeoutMs, signal: its })
    const { address, channel } = await openFirst(addresses, signal, openOne)
    onAddress?.(address)
    return channel
  })
}

/** Undefined: nobody can say, and sshd is trusted to find out. */
async function addressesOf(
  name: string,
  names: NameCheck | undefined,
  known: KnownNames,
  signal: AbortSignal,
): Promise<readonly string[] | undefined> {
  try {
    return await known.find(name, signal)
  } catch (error) {
    const isOutdated = error instanceof TunnelError && error.code === 'VERSION_UNSUPPORTED'
    if (isOutdated && (await names?.isTrusted()) === true) return undefined
    throw error
  }
}
