import type { FastifyInstance, RouteOptions } from 'fastify'
import fp from 'fastify-plugin'
import lifecycle from '../../plugins/lifecycle/index.ts'

export const API = '/api/tunnel'

/** A plugin that notes every route of a proxy: in the place of the first built-in it sees all that come after it. */
export function watchRoutes(routes: Set<string>) {
  return fp(
    async (app: FastifyInstance) => {
      app.addHook('onRoute', ({ method, url }: RouteOptions) => {
        const methods = [method].flat()
        const names = methods.length > 8 ? ['ALL'] : methods
        for (const name of names) if (name !== 'HEAD') routes.add(`${name} ${url.replace(API, '')}`)
      })
      await (lifecycle as (app: FastifyInstance) => Promise<void>)(app)
    },
    { name: 'tunnel-lifecycle' },
  )
}
