"""OpenGL shaders of the renderer: lit textured surfaces and sky."""

VERTEX = """
#version 330
uniform mat4 clip_from_world;
in vec3 position;
in vec2 uv;
in vec2 lightmap_uv;
in vec3 colour;
in int layer;
out vec3 texture_position;
out vec2 lightmap_position;
out vec3 light;
void main() {
    gl_Position = clip_from_world * vec4(position, 1.0);
    texture_position = vec3(uv, layer);
    lightmap_position = lightmap_uv;
    light = colour;
}
"""

# The second output is the inverse depth; it is negative for moving objects.
FRAGMENT = """
#version 330
uniform sampler2DArray textures;
uniform sampler2D lightmap;
uniform bool mirrored;
uniform float gain;
uniform float sign;
in vec3 texture_position;
in vec2 lightmap_position;
in vec3 light;
layout(location = 0) out vec4 colour;
layout(location = 1) out float inverse_depth;
void main() {
    vec2 uv = texture_position.xy;
    vec2 right = dFdx(uv), down = dFdy(uv);
    if (mirrored) uv = 1.0 - abs(1.0 - mod(uv, 2.0));
    vec3 surface = textureGrad(textures, vec3(uv, texture_position.z), right, down).rgb;
    colour = vec4(surface * texture(lightmap, lightmap_position).rgb * light * gain, 1.0);
    inverse_depth = sign * gl_FragCoord.w;
}
"""

SKY_VERTEX = """
#version 330
uniform mat3 rays;
out vec3 direction;
void main() {
    vec2 corner = vec2(gl_VertexID == 1 ? 3.0 : -1.0, gl_VertexID == 2 ? 3.0 : -1.0);
    gl_Position = vec4(corner, 1.0, 1.0);
    direction = rays[gl_VertexID];
}
"""

SKY_FRAGMENT = """
#version 330
uniform samplerCube sky;
uniform float gain;
in vec3 direction;
layout(location = 0) out vec4 colour;
layout(location = 1) out float inverse_depth;
void main() {
    colour = vec4(texture(sky, direction).rgb * gain, 1.0);
    inverse_depth = 0.0;
}
"""
