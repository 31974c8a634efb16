/**
 * A custom plugin: no commands and no TCP outside of working hours. Start the proxy with it:
 *
 *     npx tunnel server --plugin ./examples/deny-by-schedule.ts
 *
 * It is an ordinary Fastify plugin, with every decorator of the proxy at hand. A hook refuses by throwing a
 * TunnelError, whose code and text reach the person who asked.
 */
import type { FastifyInstance } from 'fastify'
import type { OpenContext } from '../plugins/forward/index.ts'
import { TunnelError } from '../protocol/codec/errors.ts'

export interface Schedule {
  /** First and last hour of the day (UTC) in which everything is allowed. @default 6 and 20 */
  fromHour?: number
  toHour?: number
  /** Roles that the schedule does not hold for. @default ['admin'] */
  exempt?: string[]
  /** @default the wall clock */
  now?: () => Date
}

const SCHEDULED: ReadonlySet<string> = new Set(['tcp', 'exec'])

export default async function denyBySchedule(app: FastifyInstance, schedule: Schedule): Promise<void> {
  const { fromHour = 6, toHour = 20, exempt = ['admin'], now = () => new Date() } = schedule

  app.tunnel.addHook('preOpen', (context: OpenContext) => {
    if (!SCHEDULED.has(context.head.kind)) return
    if (context.user.roles.some((role) => exempt.includes(role))) return
    const hour = now().getUTCHours()
    if (hour >= fromHour && hour < toHour) return
    throw new TunnelError(
      'POLICY_DENIED',
      `${context.head.kind} to ${context.machine} is possible from ${fromHour}:00 to ${toHour}:00 UTC only`,
      { hop: 'proxy' },
    )
  })
}
