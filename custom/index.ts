export { CustomPlugins } from './custom-plugins.ts'
export { PluginsOptions } from './options.ts'
export type { CustomPlugin, TunnelPlugin } from './plugin.ts'
