import { loadSettings } from '../../config/index.ts'
import { ROLE } from '../../plugins/auth/claims.ts'
import { firstRefreshToken } from '../../plugins/auth/refresh-tokens.ts'
import { isSubject, SUBJECT_RULE } from '../../plugins/auth/subject.ts'
import { signToken, TIERS } from '../../plugins/auth/tokens.ts'
import { TunnelError } from '../../protocol/codec/errors.ts'
import { type CommonOptions, command, parse } from '../command.ts'
import { type Definition, PROFILE_OPTION, SETTINGS_OPTIONS } from '../definition.ts'
import { EXIT, UsageError } from '../failure.ts'
import { warn } from '../warning.ts'

const SECONDS_OF: ReadonlyMap<string, number> = new Map([
  ['s', 1],
  ['m', 60],
  ['h', 3_600],
  ['d', 86_400],
])

/** A hundred years. */
const MAX_TTL_SECONDS = 3_155_760_000
const KNOWN_ROLES: readonly string[] = ['agent', 'admin']

interface TokenFlags extends CommonOptions {
  sub?: string
  tier: string
  role?: string[]
  ttl: string
  refresh?: boolean
  config?: string
  set?: string[]
}

export const definition: Definition = {
  name: 'token',
  does: "Signs a token with this server's secret and prints it. Anyone who has it acts as that user until it expires.",
  examples: ['tunnel token --sub alice', 'tunnel token --sub alice --role agent --ttl 30d > agent.token'],
  reaches: false,
  options: [
    { flags: '--sub <user>', does: 'whose token it is (required)' },
    { flags: '--tier <tier>', does: TIERS.join(', '), default: 'free', values: TIERS },
    {
      flags: '--role <role>',
      does: 'a role such as agent or admin; may be given again',
      repeats: true,
      values: KNOWN_ROLES,
    },
    { flags: '--ttl <time>', does: 'how long it lives: 90s, 15m, 1h, 30d', default: '1h' },
    {
      flags: '--refresh',
      does: 'a refresh token instead, for POST auth/refresh; it lives as auth.refreshTtlMs says',
    },
    PROFILE_OPTION,
    ...SETTINGS_OPTIONS,
  ],
}

export async function run(argv: string[]): Promise<number> {
  const made = parse(command(definition), argv)
  if (made === undefined) return EXIT.ok
  const flags = made.opts<TokenFlags>()
  if (flags.sub === undefined) throw new UsageError('say whose token it is: --sub USER')
  if (!isSubject(flags.sub)) throw new UsageError(`--sub: ${SUBJECT_RULE}`)
  if (!TIERS.some((tier) => tier === flags.tier)) {
    throw new UsageError(`--tier is one of ${TIERS.join(', ')}, not "${flags.tier}"`)
  }
  const ttlSeconds = secondsOf(flags.ttl)
  for (const role of flags.role ?? []) {
    if (!ROLE.test(role)) throw new UsageError(`--role takes a plain name, not "${role}"`)
    if (!KNOWN_ROLES.includes(role))
      warn('ROLE_UNKNOWN', `the proxy itself has no meaning for the role ${role}; it knows agent and admin`)
  }
  const { auth, state } = loadSettings({
    profile: flags.profile,
    file: flags.config,
    flags: flags.set,
    secrets: 'leave',
  }).settings
  if (auth.secret === '') {
    const message = `there is no secret to sign with: no proxy has been started with the state folder ${state.dir}`
    const suggestion = 'start `tunnel server` once, or give the secret of the proxy that is to take the token'
    throw new TunnelError('CONFIG_INVALID', `${message}, and TUNNEL_JWT_SECRET is not set`, {
      hop: 'client',
      suggestion,
    })
  }
  const { sub, tier, role: roles = [] } = flags
  const bearer = { sub, tier, roles }
  const isRefresh = flags.refresh === true
  const lifeMs = isRefresh ? auth.refreshTtlMs : ttlSeconds * 1_000
  const token = isRefresh
    ? firstRefreshToken(auth, bearer)
    : signToken(auth.secret, { ...bearer, ttlSeconds, issuer: auth.issuer, audience: auth.audience })
  const expiresAt = new Date(Date.now() + lifeMs).toISOString()
  const told = { [isRefresh ? 'refreshToken' : 'token']: token, ...bearer, expiresAt }
  process.stdout.write(flags.json === true ? `${JSON.stringify(told)}\n` : `${token}\n`)
  return EXIT.ok
}

function secondsOf(text: string): number {
  const match = /^(\d{1,9})([smhd])$/.exec(text)
  const seconds = Number(match?.[1] ?? 0) * (SECONDS_OF.get(match?.[2] ?? '') ?? 0)
  if (seconds > 0 && seconds <= MAX_TTL_SECONDS) return seconds
  throw new UsageError(`--ttl takes a time such as 90s, 15m, 1h or 30d, not "${text}"`)
}
