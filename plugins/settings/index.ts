import fp from 'fastify-plugin'

export interface SettingsChange {
  /** Settings that hold from now on, such as `log.level`. */
  changed: string[]
  /** Those that will hold after a restart. */
  needRestart: string[]
}

export interface DescribedSetting {
  path: string
  value: unknown
  source: string
  live: boolean
  needsRestart: boolean
}

/**
 * The settings of this proxy while it runs. A plugin that reads its options at each use sees every change of its section;
 * one that has made something of them uses `onChange`.
 */
export interface LiveSettings {
  /** Another one after each change. */
  readonly version: string
  describe(): DescribedSetting[]
  /** By a JSON merge patch; all of it or nothing. @throws {TunnelError} CONFIG_INVALID */
  patch(patch: Record<string, unknown>): SettingsChange
  /** From their sources. @throws {TunnelError} CONFIG_INVALID */
  reload(): SettingsChange
  onChange(listener: (changed: readonly string[]) => void): void
  /** `check` is given a section, such as `policy`, as it is to be: what it throws, with CONFIG_INVALID, refuses the change. */
  beforeChange<Section>(name: string, check: (section: Section) => void): void
}

declare module 'fastify' {
  interface FastifyInstance {
    settings: LiveSettings
    /** As `settings.reload`, recorded and logged, for whoever has no request: a signal. Throws nothing. */
    reloadSettings(): void
  }
}

/** First of all: every other may listen for changes. */
export default fp<{ live: LiveSettings }>(
  async (app, { live }) => {
    app.decorate('settings', live)
  },
  { name: 'tunnel-settings', fastify: '5.x' },
)

/** The same at a signal: it comes later, for it needs the audit trail. */
export const reloadOfSettings = fp(
  async (app) => {
    app.decorate('reloadSettings', () => {
      try {
        const { changed, needRestart } = app.settings.reload()
        app.log.info({ context: { changed, needRestart } }, 'the settings were read again')
        if (needRestart.length > 0)
          app.log.warn({ context: { needRestart } }, 'some settings have changed and need a restart')
        const details = { changed: changed.join(' '), needRestart: needRestart.join(' ') }
        app.audit.record({ event: 'config.reloaded', details })
      } catch (error) {
        app.log.error({ err: error }, 'the settings cannot be used; those that held still hold')
      }
    })
  },
  { name: 'tunnel-settings-reload', fastify: '5.x', dependencies: ['tunnel-settings', 'tunnel-audit'] },
)
