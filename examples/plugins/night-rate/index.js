/**
 * A rate of one's own, beside that of the tiers: at night (UTC) each user may open only so many streams an hour. The
 * counts are in the proxy's state, so that they hold for all replicas on one Redis.
 *
 *     npx tunnel server --plugin tunnel-plugin-night-rate --plugin-option perHour=20
 */
import fp from 'fastify-plugin'
import { TunnelError } from 'ssh-websocket-tunnel'

/** A JSON schema. */
export const optionsSchema = {
  type: 'object',
  properties: {
    perHour: { type: 'integer', minimum: 1, default: 60 },
    fromHour: { type: 'integer', minimum: 0, maximum: 23, default: 22 },
    toHour: { type: 'integer', minimum: 0, maximum: 24, default: 6 },
  },
  additionalProperties: false,
}

/**
 * @param {import('fastify').FastifyInstance} app
 * @param {{ perHour: number, fromHour: number, toHour: number }} options
 */
async function nightRate(app, { perHour, fromHour, toHour }) {
  const isNight = () => {
    const hour = new Date(Date.now()).getUTCHours()
    return fromHour <= toHour ? hour >= fromHour && hour < toHour : hour >= fromHour || hour < toHour
  }
  app.tunnel.addHook('preOpen', async ({ user }) => {
    if (!isNight()) return
    const { allowed, retryAfterMs } = await app.state.takeToken(`night:${user.sub}`, {
      perMinute: perHour / 60,
      burst: perHour,
    })
    if (!allowed)
      throw new TunnelError('RATE_LIMITED', `more than ${perHour} streams an hour at night`, {
        hop: 'proxy',
        retryAfterMs,
      })
  })
}

export default fp(nightRate, {
  name: 'night-rate',
  fastify: '5.x',
  dependencies: ['tunnel-forward', 'tunnel-state'],
})
