import { rmSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { readOwnSecret } from '../../client/tokens/file.ts'
import { isTree } from '../../config/nodes.ts'
import type { LoginPlace } from '../../dial/login.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { updateFile } from '../replace-file.ts'
import { isDead, ownMark } from '../turn.ts'
import { finishing } from '../unfinished.ts'
import { endOrWarn } from './end-login.ts'
import type { IssuedTokens } from './issuer.ts'

/** A login as it is kept on this computer, for its owner alone. */
export interface KeptLogin extends LoginPlace, IssuedTokens {
  /** Another program renews it, until then at the latest (epoch ms): a refresh token must not be used twice. */
  renewingUntilMs?: number
  /** The mark of that program (turn.ts). */
  renewingBy?: string
}

/** What has been kept, and how it was before. */
export interface Replacement {
  before: KeptLogin | undefined
  /** Puts back what was there, unless somebody else has changed it since. */
  undo(): Promise<void>
}

/** The share of its life in which a token is good enough to be used as it is. */
const FRESH_SHARE = 0.75
/** How long one program may take to renew a login, in ms; issuer.ts gives up before. */
const RENEWING_MS = 40_000
/** How often another program looks whether it has been renewed, in ms. */
const LOOK_MS = 100

/** @param begin called before anything is written; what it throws is thrown, and nothing is written */
export async function keepLogin(
  file: string,
  login: KeptLogin,
  begin: () => void = () => {},
): Promise<Replacement> {
  const text = textOf(login)
  let found: Buffer | undefined
  let before: KeptLogin | undefined
  await updateFile(file, (bytes) => {
    begin()
    found = bytes
    before = findLogin(file)
    return text
  })
  const undo = async (): Promise<void> => {
    await updateFile(file, (now) => (now?.toString() === text ? (found ?? null) : undefined))
  }
  return { before, undo }
}

/** In its turn, so that no program that renews it meanwhile brings it back; and where there is none to be had, too. */
export async function dropLogin(file: string): Promise<void> {
  await updateFile(file, () => null).catch(() => {})
  rmSync(file, { force: true })
}

/** @throws {TunnelError} TOKEN_MISSING where there is none, or one that is not to be trusted */
export function readLogin(file: string): KeptLogin {
  return parsed(readOwnSecret(file), file)
}

/** The same; undefined where there is none that is to be trusted. */
function findLogin(file: string): KeptLogin | undefined {
  try {
    return readLogin(file)
  } catch {
    return undefined
  }
}

/**
 * The login's token; of several programs that find it old one renews it, and the others wait.
 * @throws {TunnelError} TOKEN_MISSING, TOKEN_EXPIRED
 */
export async function freshToken(file: string): Promise<string> {
  for (;;) {
    const login = readLogin(file)
    const nowMs = Date.now()
    if (isFresh(login, nowMs)) return login.accessToken
    if (login.refreshToken === undefined) {
      if (login.expiresAtMs > nowMs) return login.accessToken
      throw loginOver(file)
    }
    let begun: KeptLogin | undefined
    try {
      begun = await begin(file)
    } catch (error) {
      // A disk that takes nothing ends no login; somebody who logged out meanwhile does.
      const isUnwritable = error instanceof TunnelError && error.code === 'CONFIG_INVALID'
      if (isUnwritable && login.expiresAtMs > Date.now()) return login.accessToken
      throw error
    }
    if (begun?.refreshToken !== undefined) {
      const [ours, refreshToken] = [begun, begun.refreshToken]
      // The issuer may take it once: who has sent it needs the answer.
      return finishing((hurry) => renewed(file, ours, refreshToken, hurry))
    }
    await delay(LOOK_MS)
  }
}

function isFresh({ issuedAtMs, expiresAtMs }: KeptLogin, nowMs: number): boolean {
  return nowMs >= issuedAtMs && nowMs < issuedAtMs + (expiresAtMs - issuedAtMs) * FRESH_SHARE
}

/** A time that nobody can have written now, as after a clock that was wrong, holds up nobody, nor does a killed program. */
function isBeingRenewed({ renewingUntilMs = 0, renewingBy = '' }: KeptLogin, nowMs: number): boolean {
  return renewingUntilMs > nowMs && renewingUntilMs <= nowMs + RENEWING_MS && !isDead(renewingBy)
}

/**
 * The login that is ours to renew; undefined where another program does, or has done so since it was read. All of it is
 * looked at in our turn at the file, for which we may have waited longer than another took to renew it.
 */
async function begin(file: string): Promise<KeptLogin | undefined> {
  let begun: KeptLogin | undefined
  await updateFile(file, (before) => {
    const nowMs = Date.now()
    const login = parsed(before?.toString() ?? '', file)
    if (isFresh(login, nowMs) || isBeingRenewed(login, nowMs)) return undefined
    begun = login
    return textOf({ ...login, renewingUntilMs: nowMs + RENEWING_MS, renewingBy: ownMark() })
  })
  return begun
}

async function renewed(
  file: string,
  login: KeptLogin,
  refreshToken: string,
  hurry: AbortSignal,
): Promise<string> {
  const { renewingUntilMs: _, renewingBy: _by, ...place } = login
  const { renew } = await import('./issuer.ts')
  let next: KeptLogin
  try {
    next = { ...place, ...(await renew(login, refreshToken, hurry)) }
  } catch (error) {
    if (!(await keepInPlaceOf(file, login, place))) return freshToken(file)
    // An issuer that is away ends no login.
    if (login.expiresAtMs > Date.now()) return login.accessToken
    throw error
  }
  if (await keepInPlaceOf(file, login, next)) return next.accessToken
  // Nobody keeps what was renewed, so that nobody should have it.
  await endOrWarn(next, 'new', 'the login was renewed while another program ended or replaced it')
  return freshToken(file)
}

/**
 * Keeps `next` where `login` is still what is kept, and says whether it is: a logout, or the login of somebody else, that
 * came meanwhile is not undone.
 */
async function keepInPlaceOf(file: string, login: KeptLogin, next: KeptLogin): Promise<boolean> {
  let isSame = false
  await updateFile(file, (before) => {
    if (before === undefined) return undefined
    const { accessToken, refreshToken } = parsed(before.toString(), file)
    isSame = accessToken === login.accessToken && refreshToken === login.refreshToken
    return isSame ? textOf(next) : undefined
  })
  return isSame
}

function textOf(login: KeptLogin): string {
  return `${JSON.stringify(login, null, 2)}\n`
}

function parsed(text: string, file: string): KeptLogin {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    value = undefined
  }
  const { issuer, clientId, scope, audience, accessToken, issuedAtMs, expiresAtMs } = isTree(value)
    ? value
    : {}
  const isWhole = [issuer, clientId, scope, audience, accessToken].every((each) => typeof each === 'string')
  if (isWhole && typeof issuedAtMs === 'number' && typeof expiresAtMs === 'number')
    return value as unknown as KeptLogin
  throw new TunnelError('TOKEN_MISSING', `${file} holds no login`, {
    hop: 'client',
    suggestion: 'run `tunnel login`',
  })
}

function loginOver(file: string): TunnelError {
  const message = `the login in ${file} has expired`
  return new TunnelError('TOKEN_EXPIRED', message, { hop: 'client', suggestion: 'run `tunnel login`' })
}
