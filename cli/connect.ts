import { TunnelService } from '../client/index.ts'
import { NEVER_GIVE_UP } from '../dial/backoff.ts'
import { carriedBy } from '../dial/carrier.ts'
import { dialWith } from '../dial/dial-proxy.ts'
import { TunnelError } from '../protocol/codec/errors.ts'
import { type AccessOptions, accessFrom } from './credentials.ts'
import { detourFile } from './detour-file.ts'
import { visible } from './output.ts'
import { clientSettings } from './reach.ts'
import { folded } from './terminal.ts'
import { waitOut } from './wait-out.ts'
import { nearDial, warmDial } from './warm/dial.ts'
import { commandPath } from './warm/place.ts'

export interface TunnelUse {
  /** Is told why a proxy that asks for it is waited for. */
  say?: (line: string) => void
  /** Is told what a person should know of the way. @default a terminal */
  notice?: (line: string) => void
  /** A link that was lost is dialled again without end: there will be connections that want it. @default false */
  persistent?: boolean
  /** How long a proxy that asks for it is waited for, in ms. @default that of `waitOut` */
  patienceMs?: number
  /** Calls the dial off, with ABORTED; `use` has to see to itself. */
  signal?: AbortSignal
}

/** Connects for the length of `use`, and ends what is left of it. */
export async function withTunnel<T>(
  options: AccessOptions,
  use: (tunnel: TunnelService) => Promise<T>,
  { say = () => {}, notice = tellTerminal, persistent = false, patienceMs, signal }: TunnelUse = {},
): Promise<T> {
  const access = accessFrom(options)
  const { urls, token, tokenCommand } = access
  const platform = {
    dial: warmDial(urls[0], dialWith(detourFile())),
    dialNear: tokenCommand && nearDial(commandPath(urls[0], tokenCommand)),
  }
  const resolvedSettings = await clientSettings(access)
  if (persistent) resolvedSettings.backoff.maxAttempts = NEVER_GIVE_UP
  const tunnel = new TunnelService({ url: urls, token, platform, resolvedSettings })
  // Said when it is found out: what later commands know already they keep to themselves.
  tunnel.on('transport', (kind, why) => {
    if (why !== undefined) notice(carriedBy(kind, why))
  })
  let failed = true
  try {
    const connected = waitOut(() => tunnel.connect(), say, { isDial: true, patienceMs })
    await (signal === undefined ? connected : Promise.race([connected, calledOff(signal)]))
    const result = await use(tunnel)
    failed = false
    return result
  } finally {
    // What failed has nothing under way that would be worth waiting for.
    await tunnel.disconnect(failed ? 0 : undefined)
  }
}

function calledOff(signal: AbortSignal): Promise<never> {
  return new Promise((_resolve, reject) => {
    const onAbort = () => reject(new TunnelError('ABORTED', 'the dial was called off', { hop: 'client' }))
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
  })
}

function tellTerminal(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`${folded(`tunnel: ${visible(line)}`)}\r\n`)
}
